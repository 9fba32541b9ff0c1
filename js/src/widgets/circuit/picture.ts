/** The graph as one drawing in the light theme: what a saved notebook shows. */

import { svg } from '../../lib/elements';
import { figure, svgAddress, svgSource } from '../../lib/picture';
import type { CircuitSpec } from '../../lib/protocol';
import { LIGHT } from '../../lib/theme';
import { visible } from '../../lib/tokens';
import { curveOf, DASH, FONT_FAMILY, Layout, shareOf, widthOf, type Drawing } from './drawing';
import { type Graph } from './moment';

/** More edges are a blot, and a notebook keeps every one of them. */
const MOST = 150;
const WIDTH = 760;
const HEAD = 58;
const PAD = 12;

/** The figure that is written into the notebook: the strongest edges, and of how many. */
export function circuitPicture(graph: Graph, spec: CircuitSpec, kept: string): string | null {
  if (graph.edges.length === 0) {
    return null;
  }
  const edges = graph.edges.slice(0, MOST);
  const there = new Set(edges.flatMap(({ source, target }) => [source, target]));
  const nodes = graph.nodes.filter(({ index }) => there.has(index));
  const layers = nodes.map(({ node }) => node.layer);
  const layout = new Layout(spec, WIDTH, layers);
  const drawing: Drawing = { graph: { ...graph, edges, nodes }, layout, spec, palette: LIGHT, ratio: 1 };
  const height = HEAD + layout.height;
  const title = visible(spec.title.slice(0, 120));
  const drawn = `${edges.length} of the ${graph.kept.toLocaleString('en')} edges that are kept are drawn, the strongest`;
  const text = (y: number, words: string, attributes = {}): SVGElement =>
    svg('text', { x: PAD, y, fill: LIGHT.ink, ...attributes }, words);
  const lines = edges.map(edge => {
    const curve = curveOf(drawing, edge);
    const hinders = edge.score < 0;
    const share = shareOf(drawing, edge);
    const [a, b, c, d] = (curve ?? []).map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`);
    return svg('path', {
      ...{ d: `M${a}C${b} ${c} ${d}`, stroke: hinders ? LIGHT.control : LIGHT.turned },
      ...{ 'stroke-width': widthOf(share).toFixed(1), opacity: (0.2 + 0.75 * share).toFixed(2) },
      ...(hinders ? { 'stroke-dasharray': DASH.join(' ') } : {})
    });
  });
  const boxes = nodes.flatMap(({ node }) => {
    const { x, y } = layout.place(node);
    const { height: high } = layout.box;
    const wide = layout.wideOf(node);
    return [
      svg('rect', {
        ...{ x: (x - wide / 2).toFixed(1), y: (y - high / 2).toFixed(1), width: wide.toFixed(1), height: high },
        ...{ rx: node.kind === 'mlp' ? 2 : 8, fill: LIGHT.surface, stroke: LIGHT.base }
      }),
      svg('text', { x: x.toFixed(1), y: (y + 4).toFixed(1), 'text-anchor': 'middle' }, visible(node.name))
    ];
  });
  const names = [...layout.layers]
    .filter(([layer]) => layer >= 0 && layer < spec.n_layers)
    .map(([layer, row]) => svg('text', { x: 4, y: layout.yOf(row) + 4, fill: LIGHT.muted }, String(layer)));
  const document = svg(
    'svg',
    { width: WIDTH, height, viewBox: `0 0 ${WIDTH} ${height}`, 'font-family': FONT_FAMILY, 'font-size': 10.5 },
    svg('rect', { width: WIDTH, height, fill: LIGHT.surface }),
    text(20, title, { 'font-size': 14, 'font-weight': 600 }),
    text(36, visible(kept), { 'font-size': 12 }),
    text(51, `${drawn}; a dashed one hinders.`, { 'font-size': 12, fill: LIGHT.muted }),
    svg(
      'g',
      { transform: `translate(0 ${HEAD})`, fill: LIGHT.ink },
      svg('g', { fill: 'none' }, ...lines),
      ...boxes,
      ...names
    )
  );
  return figure(svgAddress(svgSource(document)), `${title}: ${kept}; ${drawn}.`, null);
}
