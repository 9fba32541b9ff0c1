import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import type { CircuitNode, CircuitSpec } from '../lib/protocol';
import type { Pictured } from '../lib/picture';
import { stillProps } from '../lib/still';
import circuit from './circuit';
import { graphOf, picksWith, type CircuitTraits } from './circuit/moment';

const WICKED = '<img src=x onerror="throw 1">';
const node = (name: string, kind: CircuitNode['kind'], layer: number, head = -1): CircuitNode => ({
  name,
  kind,
  layer,
  head
});
const SPEC: CircuitSpec = {
  ...{ title: WICKED, note: '', metric: 'logits', n_layers: 2, n_heads: 2, total: 40 },
  nodes: [
    node('input', 'input', -1),
    node('L0H0', 'head', 0, 0),
    node('L0H1', 'head', 0, 1),
    node('MLP 0', 'mlp', 0),
    node('L1H0', 'head', 1, 0),
    node('L1H1', 'head', 1, 1),
    node('MLP 1', 'mlp', 1),
    node('logits', 'logits', 2)
  ],
  // both heads of a layer share their keys
  receivers: [
    { name: 'L0H0<q>', nodes: [1] },
    { name: 'L1H0-1<k>', nodes: [4, 5] },
    { name: 'MLP 0', nodes: [3] },
    { name: 'logits', nodes: [7] }
  ],
  stops: [
    { n_edges: 2, kept: 2, faithfulness: 0.4, random_low: 0, random_high: 0.1 },
    { n_edges: 6, kept: 5, faithfulness: 0.9, random_low: NaN, random_high: NaN }
  ]
};
const words = (numbers: number[]): DataView => new DataView(Uint32Array.from(numbers).buffer);
// the largest first: L0H0→logits, input→L0H0, L0H0→keys of layer 1, L1H0→logits, input→MLP 0 (which leads nowhere)
const EDGES = {
  source: words([1, 0, 1, 4, 0]),
  receiver: words([3, 0, 1, 3, 2]),
  stop: words([0, 0, 1, 1, 1]),
  score: new DataView(Float32Array.from([2, -1, 0.5, 0.25, 0.1]).buffer)
};

describe('the graph', () => {
  it('has the edges that a stop keeps, and the nodes between which they lie', () => {
    const few = graphOf(SPEC, { stop: 0, drawn: 100, edge: [] }, EDGES);
    expect(few.edges.map(({ source, target }) => [source, target])).toEqual([
      [1, 7],
      [0, 1]
    ]);
    expect(few.nodes.map(({ node }) => node.name)).toEqual(['input', 'L0H0', 'logits']);
    expect([few.kept, few.drawn, few.most]).toEqual([2, 2, 2]);
  });
  it('leads into the heads that share keys where these write something', () => {
    const all = graphOf(SPEC, { stop: 1, drawn: 100, edge: [] }, EDGES);
    expect(all.edges.filter(edge => edge.receiver === 1).map(edge => edge.target)).toEqual([4]);
    const head = all.nodes.find(({ node }) => node.name === 'L0H0');
    expect([head?.into, head?.from, head?.score]).toEqual([1, 2, 2.5]);
  });
  it('shows the strongest alone where fewer are drawn', () => {
    const { kept, drawn, edges } = graphOf(SPEC, { stop: 1, drawn: 3, edge: [] }, EDGES);
    expect([kept, drawn, edges.length]).toEqual([5, 3, 3]);
  });
});

describe('picks', () => {
  const [input, head, other, mlp] = SPEC.nodes as [CircuitNode, CircuitNode, CircuitNode, CircuitNode];
  it('are heads and layers, alone or beside others, and let go where they are picked already', () => {
    const one = picksWith({ heads: [], layers: [] }, [input, head, mlp], false);
    expect(one).toEqual({ heads: [[0, 0]], layers: [0] });
    expect(picksWith(one, [other], true).heads.length).toBe(2);
    expect(picksWith(one, [other], false)).toEqual({ heads: [[0, 1]], layers: [] });
    expect(picksWith(one, [mlp], true)).toEqual({ heads: [[0, 0]], layers: [] });
    expect(picksWith(one, [head, mlp], false)).toEqual({ heads: [], layers: [] });
  });
});

let el: HTMLElement;
let life: AbortController;
let traits: CircuitTraits;
let get: <K extends keyof CircuitTraits>(name: K) => CircuitTraits[K];
const frames = (): void => void vi.advanceTimersByTime(40);

beforeEach(() => {
  vi.useFakeTimers();
  const none = new DataView(new ArrayBuffer(0));
  traits = {
    ...{ spec: SPEC, view: { stop: 0, drawn: 100, edge: [] }, edges: EDGES, problem: '' },
    selection: { rows: none, examples: none, tokens: [7], layers: [], heads: [] }
  };
  el = document.createElement('div');
  document.body.append(el);
  life = new AbortController();
  const props = stillProps(traits, el, life.signal);
  get = name => props.model.get(name);
  circuit.render(props);
});
afterEach(() => {
  life.abort();
  el.remove();
  vi.useRealTimers();
});

const listed = (): string[] => [...el.querySelectorAll('.nbi-circuit-name')].map(one => one.textContent);
const button = (at: number): HTMLButtonElement => el.querySelectorAll<HTMLButtonElement>('.nbi-circuit-node')[at]!;

test('the slider keeps more edges, and says what is left of the behaviour', () => {
  expect(el.querySelector('.nbi-circuit-left')!.textContent).toBe(
    '2 of 40 edges: faithfulness 0.4; random circuits of as many edges keep 0 to 0.1'
  );
  expect(listed()).toEqual(['L0H0', 'input']);
  const slider = el.querySelector<HTMLInputElement>('.nbi-circuit-kept input[type=range]')!;
  slider.value = '1';
  slider.dispatchEvent(new Event('input'));
  frames();
  expect(get('view').stop).toBe(1);
  expect(slider.getAttribute('aria-valuetext')).toBe('5 edges');
  expect(el.querySelector('.nbi-circuit-left')!.textContent).toBe('5 of 40 edges: faithfulness 0.9');
  expect(listed()).toEqual(['L0H0', 'input', 'L1H0', 'MLP 0']);
});

test('a node in the list picks its head, another beside it with Shift, again lets go; other kinds stay', () => {
  keep(1);
  button(0).click();
  expect([get('selection').heads, get('selection').tokens]).toEqual([[[0, 0]], [7]]);
  button(2).dispatchEvent(new MouseEvent('click', { bubbles: true, shiftKey: true }));
  button(3).dispatchEvent(new MouseEvent('click', { bubbles: true, shiftKey: true }));
  expect([get('selection').heads, get('selection').layers]).toEqual([
    [
      [0, 0],
      [1, 0]
    ],
    [0]
  ]);
  frames();
  expect(button(0).getAttribute('aria-pressed')).toBe('true');
  button(0).dispatchEvent(new MouseEvent('click', { bubbles: true, shiftKey: true }));
  expect(get('selection').heads).toEqual([[1, 0]]);
  // the input is no place to act at
  button(1).click();
  expect(get('selection').heads).toEqual([]);
});

test('arrows go from node to node, and what a node is is said', () => {
  keep(1);
  button(0).focus();
  button(0).dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));
  expect(document.activeElement).toBe(button(1));
  expect(el.querySelector('.nbi-circuit-words')!.textContent).toBe('input: 0 edges in, 2 out, together −0.9');
  expect(el.querySelectorAll('.nbi-circuit-node[tabindex="0"]').length).toBe(1);
});

test('the picture that a notebook keeps is lines, and says how many of how many', () => {
  keep(1);
  const figure = document.createElement('div');
  figure.innerHTML = (el as Pictured).nbinterpPicture?.() ?? '';
  const image = figure.querySelector('img')!;
  expect(image.alt).toBe(
    `${WICKED}: 5 of 40 edges: faithfulness 0.9; 5 of the 5 edges that are kept are drawn, the strongest.`
  );
  const [kind, data] = image.src.split(',');
  expect(kind).toBe('data:image/svg+xml;base64');
  const bytes = Uint8Array.from(atob(data!), character => character.charCodeAt(0));
  const drawing = new DOMParser().parseFromString(new TextDecoder().decode(bytes), 'image/svg+xml');
  expect(drawing.querySelectorAll('path').length).toBe(5);
  expect(drawing.querySelectorAll('path[stroke-dasharray]').length).toBe(1);
  expect(drawing.querySelector('img')).toBeNull();
});

test('names are text', () => {
  expect(el.querySelector('img')).toBeNull();
  expect(el.querySelector('.nbi-title')!.textContent).toBe(WICKED);
});

function keep(stop: number): void {
  const slider = el.querySelector<HTMLInputElement>('.nbi-circuit-kept input[type=range]')!;
  slider.value = String(stop);
  slider.dispatchEvent(new Event('input'));
  frames();
}
