/** A circuit as a layered graph: as many edges as the slider keeps, with what is left of the behaviour beside it. */

import type { RenderProps } from '@anywidget/types';
import { NumberControl } from '../lib/controls';
import { html } from '../lib/elements';
import { short, signed } from '../lib/grid/heat';
import { keepKeys } from '../lib/keys';
import { lifeOf, onChange } from '../lib/life';
import { Offers } from '../lib/offers';
import type { Pictured } from '../lib/picture';
import type { CircuitNode, CircuitStop, CircuitView } from '../lib/protocol';
import { bytesOf, changeSelection, readSelection } from '../lib/selection';
import { keepState } from '../lib/still';
import { DARK, isDark, LIGHT, onThemeChange, themeStyle } from '../lib/theme';
import { oncePerFrame, promptly } from '../lib/timing';
import { visible } from '../lib/tokens';
import './circuit/circuit.css';
import { drawEdges, drawNodes, edgeAt, isAnyLit, Layout, nodeAt, type Lit } from './circuit/drawing';
import { graphOf, picksWith, type CircuitTraits, type Edge, type Graph } from './circuit/moment';
import { NodeList } from './circuit/nodes';
import { circuitPicture } from './circuit/picture';

const TRAITS = ['spec', 'view', 'edges', 'acted', 'selection', 'offers', 'problem'] as const;
const MOST_KEPT = 400_000;
const NOTHING: Lit = { nodes: new Set(), edge: null };
/** A view may have been stored before an edge of it could be picked. */
type StoredView = Omit<CircuitView, 'edge'> & Partial<Pick<CircuitView, 'edge'>>;

function render({ model, el, signal }: RenderProps<CircuitTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbi-panel', 'nbinterp-circuit');
  keepKeys(root, life.signal);
  const spec = model.get('spec');
  const save = promptly(() => model.save_changes(), life.signal);
  const change = (change: Partial<CircuitView>): void => {
    model.set('view', { ...model.get('view'), ...change });
    save();
  };
  // all edges are drawn once; what the hand lights is drawn above them
  const below = html('canvas', { class: 'nbi-circuit-edges', 'aria-hidden': 'true' });
  const canvas = html('canvas', { 'aria-hidden': 'true' });
  const contexts = [below.getContext('2d'), canvas.getContext('2d')] as const;
  const stage = html('div', { class: 'nbi-circuit-stage' }, below, canvas);
  const words = html('p', { class: 'nbi-circuit-words', 'aria-live': 'polite' });
  let graph: Graph = { edges: [], nodes: [], kept: 0, drawn: 0, most: 0 };
  let drawnFor: unknown[] = [];
  let layout = new Layout(spec, 600, []);
  let hovered: Lit = NOTHING;

  const edgePicked = (): readonly number[] => (model.get('view') as StoredView).edge ?? [];
  /** Pick heads and layers of these nodes, alone or beside what is picked. */
  const pick = (nodes: readonly CircuitNode[], add: boolean, edge: readonly number[] = []): void => {
    changeSelection(model, picksWith(readSelection(model), nodes, add));
    if (edgePicked().join() !== edge.join()) {
      model.set('view', { ...model.get('view'), edge: [...edge] });
    }
    save();
  };
  /** Pick an edge by itself, with both of its ends; picked again it is let go. */
  const pickEdge = (edge: Edge, add: boolean): void => {
    const place = [edge.receiver, edge.source];
    const again = edgePicked().join() === place.join();
    if (!add && !again) {
      changeSelection(model, { heads: [], layers: [] });
    }
    pick(nodesOf(edge), add, add || again ? [] : place);
  };
  const nodesOf = (edge: Edge): CircuitNode[] =>
    [spec.nodes[edge.source], spec.nodes[edge.target]].filter(node => node !== undefined);
  const hover = (lit: Lit): void => {
    const [node] = lit.nodes;
    const [now] = hovered.nodes;
    if (lit.edge !== hovered.edge || node !== now) {
      hovered = lit;
      words.textContent = lit.edge !== null ? edgeWords(lit.edge) : node !== undefined ? nodeWords(node) : '';
      paintSoon();
    }
  };
  const edgeWords = ({ source, receiver, score }: Edge): string =>
    `${visible(spec.nodes[source]?.name ?? '')}→${visible(spec.receivers[receiver]?.name ?? '')}: ${signed(score)} ${visible(spec.metric)}`;
  const nodeWords = (index: number): string => {
    const facts = graph.nodes.find(one => one.index === index);
    return facts === undefined
      ? ''
      : `${visible(facts.node.name)}: ${facts.into} edges in, ${facts.from} out, together ${signed(facts.score)}`;
  };
  const list = new NodeList(
    node => hover(node === null ? NOTHING : { nodes: new Set([node]), edge: null }),
    (index, add) => {
      const node = spec.nodes[index];
      if (node !== undefined) {
        pick([node], add);
      }
    },
    life.signal
  );

  const { stops } = spec;
  const kept = new NumberControl(
    { name: 'edges', low: 0, high: Math.max(1, stops.length - 1), step: 1, unit: '', home: 0 },
    stop => change({ stop }),
    life.signal
  );
  kept.element.classList.add('nbi-circuit-kept');
  const most = bytesOf(model.get('edges').score).byteLength / 4;
  const drawn = new NumberControl(
    { name: 'drawn', low: 1, high: Math.max(2, Math.min(3000, most)), step: 1, unit: 'strongest', home: 1 },
    drawn => change({ drawn }),
    life.signal
  );
  const left = html('p', { class: 'nbi-circuit-left', role: 'status' });
  const offers = new Offers(model, life.signal);
  const title = html('h3', { class: 'nbi-title' }, visible(spec.title.slice(0, 300)));
  const key = html(
    'p',
    { class: 'nbi-note' },
    'A line ━ helps, a dashed one ╍ hinders; the wider, the more. L3H5 is head 5 of layer 3.'
  );
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  const sliders = html('div', { class: 'nbi-circuit-sliders' }, kept.element, left, drawn.element);
  root.replaceChildren(
    themeStyle(root, life.signal),
    html('div', { class: 'nbi-header' }, title),
    sliders,
    html('div', { class: 'nbi-circuit-middle' }, stage, list.element),
    words,
    offers.element,
    key,
    problem
  );

  const at = (event: MouseEvent): { x: number; y: number } => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const under = (event: MouseEvent): Lit => {
    const { x, y } = at(event);
    const node = nodeAt(graph, layout, x, y);
    return node === null
      ? { nodes: new Set(), edge: edgeAt(graph, layout, spec, x, y) }
      : { nodes: new Set([node]), edge: null };
  };
  const listen = { signal: life.signal };
  canvas.addEventListener('pointermove', event => hover(under(event)), listen);
  canvas.addEventListener('pointerleave', () => hover(NOTHING), listen);
  canvas.addEventListener(
    'click',
    event => {
      const lit = under(event);
      const [index] = lit.nodes;
      const node = index === undefined ? undefined : spec.nodes[index];
      const add = event.shiftKey || event.ctrlKey || event.metaKey;
      if (node !== undefined || lit.edge !== null) {
        if (node !== undefined) {
          pick([node], add);
        } else if (lit.edge !== null) {
          pickEdge(lit.edge, add);
        }
      }
    },
    listen
  );
  root.addEventListener(
    'keydown',
    event => {
      if (event.key === 'Escape') {
        changeSelection(model, { heads: [], layers: [] });
        pick([], true);
      }
    },
    listen
  );

  const pickedNodes = (): Set<number> => {
    const { heads, layers } = readSelection(model);
    const pairs = new Set(heads.map(pair => pair.join()));
    const found = graph.nodes.filter(({ node }) =>
      node.kind === 'head'
        ? pairs.has(`${node.layer},${node.head}`)
        : node.kind === 'mlp' && layers.includes(node.layer)
    );
    return new Set(found.map(({ index }) => index));
  };
  let stale: unknown[] = [];
  const paint = (): void => {
    const width = stage.clientWidth;
    const [edges, nodes] = contexts;
    if (edges === null || nodes === null || width === 0) {
      return;
    }
    const ratio = Math.min(3, devicePixelRatio || 1);
    const palette = isDark() ? DARK : LIGHT;
    const inputs = [graph, width, ratio, palette];
    const drawing = { graph, layout, spec, palette, ratio };
    if (inputs.some((input, at) => input !== stale[at])) {
      stale = inputs;
      drawing.layout = layout = new Layout(
        spec,
        width,
        graph.nodes.map(({ node }) => node.layer)
      );
      for (const one of [below, canvas]) {
        Object.assign(one, { width: Math.round(width * ratio), height: Math.round(layout.height * ratio) });
        Object.assign(one.style, { width: `${width}px`, height: `${layout.height}px` });
      }
      drawEdges(edges, drawing);
    }
    const picked = pickedNodes();
    below.style.opacity = isAnyLit(hovered, picked) ? '0.15' : '1';
    const [receiver, source] = edgePicked();
    const edge = graph.edges.filter(one => one.receiver === receiver && one.source === source);
    drawNodes(nodes, drawing, { hovered, picked, edges: new Set(edge), acted: new Set(model.get('acted') ?? []) });
  };
  const redraw = (): void => {
    const view = model.get('view');
    const edges = model.get('edges');
    const inputs = [view.stop, view.drawn, edges];
    if (inputs.some((input, index) => input !== drawnFor[index])) {
      drawnFor = inputs;
      graph = graphOf(spec, view, edges);
      hovered = NOTHING;
    }
    const stop = stops[view.stop];
    kept.element.hidden = stops.length < 2;
    kept.value = view.stop;
    kept.slider.setAttribute('aria-valuetext', `${stop?.kept ?? 0} edges`);
    drawn.value = Math.min(view.drawn, most);
    drawn.element.hidden = graph.kept < 2;
    const text = stop === undefined ? '' : stopWords(stop, spec.total);
    if (left.textContent !== text) {
      left.textContent = text;
    }
    list.update(graph.nodes, pickedNodes(), new Set(model.get('acted') ?? []));
    offers.update();
    const trouble = model.get('problem') === '' ? '' : visible(model.get('problem').slice(0, 1200));
    if (problem.textContent !== trouble) {
      problem.textContent = trouble;
    }
    Object.assign(root.dataset, { kept: graph.kept, drawn: graph.drawn, nodes: graph.nodes.length });
    paint();
  };
  const redrawSoon = oncePerFrame(redraw, life.signal);
  const paintSoon = oncePerFrame(paint, life.signal);
  onChange(model, TRAITS, redrawSoon, life.signal);
  onThemeChange(paintSoon, life.signal);
  const size = new ResizeObserver(paintSoon);
  size.observe(stage);
  life.signal.addEventListener('abort', () => size.disconnect());
  redraw();
  if (16 * most < MOST_KEPT) {
    keepState(root, model, TRAITS, ['view', 'selection']);
  }
  root.nbinterpPicture = () => {
    redraw();
    return circuitPicture(graph, spec, left.textContent);
  };
  return () => life.abort();
}

/** "120 of 71,000 edges: 0.87 of the behaviour is left; random circuits keep 0.01 to 0.04". */
function stopWords({ kept, faithfulness, random_low, random_high }: CircuitStop, total: number): string {
  const edges = `${kept.toLocaleString('en')} of ${total.toLocaleString('en')} edges`;
  // what Python has no number for comes as null where it went through JSON
  if (!Number.isFinite(faithfulness)) {
    return `${edges}; how much of the behaviour is left nobody has measured: give curve=scores.faithfulness()`;
  }
  const random = Number.isFinite(random_low)
    ? `; random circuits of as many edges keep ${short(round(random_low))} to ${short(round(random_high))}`
    : '';
  return `${edges}: faithfulness ${short(round(faithfulness))}${random}`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

export default { render };
