import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AnyModel } from '@anywidget/types';
import type { Cells } from '../lib/protocol';
import { stillProps } from '../lib/still';
import grid from './grid';
import { factsOf, runsOf, shownOf, type GridTraits } from './grid/moment';

const WICKED = '<img src=x onerror="throw 1">';
const EMPTY = new DataView(new ArrayBuffer(0));
const cells = (quantity: string, values: number[], words: string[] = [], codes: number[] = []): Cells => ({
  ...{ quantity, words, values: new DataView(Float32Array.from(values).buffer) },
  codes: new DataView(Uint32Array.from(codes).buffer)
});

let el: HTMLElement;
let life: AbortController;
let model: AnyModel<GridTraits>;
const frames = (): void => void vi.advanceTimersByTime(40);

beforeEach(() => {
  vi.useFakeTimers();
  const traits: GridTraits = {
    spec: {
      ...{ title: `lens of ${WICKED}`, note: WICKED },
      rows: { name: 'layer', kind: 'layers', labels: ['0', '1'], places: [0, 1] },
      columns: { name: 'token', kind: 'tokens', labels: [WICKED, ' is'], places: [0, 1] },
      quantities: [
        { id: 'top', name: 'likeliest token', unit: 'probability', scale: 'sequential', low: 0, high: 1, words: true },
        { id: 'kl', name: 'KL', unit: 'nats', scale: 'sequential', low: 0, high: 8, words: false }
      ]
    },
    view: { quantity: 'top', run: 'difference' },
    base: [cells('top', [0.1, 0.2, 0.3, 0.4], [WICKED, ' Paris'], [0, 1, 1, 1]), cells('kl', [1, 2, 3, NaN])],
    changed: [cells('top', [0.1, 0.5, 0.3, 0.4], [' Rome'], [0, 0, 0, 0])],
    selection: { rows: EMPTY, examples: EMPTY, tokens: [1], layers: [0], heads: [] },
    ...{ task: null, problem: '' }
  };
  el = document.createElement('div');
  document.body.append(el);
  life = new AbortController();
  const props = stillProps(traits, el, life.signal);
  model = props.model;
  grid.render(props);
});
afterEach(() => {
  life.abort();
  el.remove();
  vi.useRealTimers();
});

test('a difference is changed minus base, on a scale around 0 that ends at a round number', () => {
  const shown = shownOf(model)!;
  expect([...shown.values].map(value => Number(value.toFixed(6)))).toEqual([0, 0.3, 0, 0]);
  expect(shown.heat).toEqual({ kind: 'diverging', low: -0.5, high: 0.5 });
  // a token that became another one is named
  expect(shown.text(1)).toBe('→·Rome');
});

test('what was not computed for the changed run is shown of the base alone', () => {
  const select = el.querySelector('select')!;
  select.value = 'kl';
  select.dispatchEvent(new Event('change'));
  frames();
  expect(model.get('view').quantity).toBe('kl');
  expect([runsOf(model, 'kl'), shownOf(model)?.run]).toEqual([['base'], 'base']);
  expect(el.querySelector<HTMLElement>('.nbi-runs')!.hidden).toBe(true);
  expect(el.querySelector('.nbi-heat-legend')!.textContent).toBe('KL (nats)08');
});

test('runs are chosen, and told to Python', () => {
  const changed = el.querySelector<HTMLInputElement>('input[value=changed]')!;
  changed.checked = true;
  changed.dispatchEvent(new Event('change'));
  frames();
  expect([model.get('view').run, shownOf(model)?.text(0)]).toEqual(['changed', '·Rome']);
});

test('all that is known of a cell is told, a line a quantity; nothing of what there is not', () => {
  expect(factsOf(model, 1)).toEqual(['likeliest token (probability): ·Paris 0.2 → ·Rome 0.5', 'KL (nats): 2']);
  expect(factsOf(model, 3)).toEqual(['likeliest token (probability): ·Paris 0.4 → ·Rome 0.4']);
});

test('what is picked is said in words, names are text', () => {
  expect(el.querySelector('.nbi-grid-picked')!.textContent).toBe('Picked: layer 0, token 1 “·is”.');
  expect(el.querySelector('img')).toBeNull();
  expect(el.querySelector('.nbi-title')!.textContent).toBe(`lens of ${WICKED}`);
  model.set('selection', {
    ...model.get('selection'),
    tokens: [],
    layers: [],
    heads: [
      [1, 2],
      [1, 3]
    ]
  });
  frames();
  expect(el.querySelector('.nbi-grid-picked')!.textContent).toBe('Picked: 2 heads.');
});

test('a message that comes while a slider moves changes the picture', () => {
  model.set('changed', [cells('top', [0, 0, 0, 0], [' Rome'], [0, 0, 0, 0])]);
  frames();
  expect(Array.from(shownOf(model)!.values, value => Number(value.toFixed(6)))).toEqual([-0.1, -0.2, -0.3, -0.4]);
});
