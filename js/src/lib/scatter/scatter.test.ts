import { afterEach, expect, test, vi } from 'vitest';
import type { Column } from '../protocol';
import { count, fromRows, toRows, type Bits } from '../selection';
import { boundsOf, fitted, mapOf, zoomed } from './camera';
import { Grid } from './grid';
import { boxLasso, combine, Lasso, sameBits, within } from './lasso';
import { nextRow, Places } from './places';
import { Legend, Scatter } from './scatter';
import { ticks } from './ticks';

/** Numbers that look random, the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1664525 + 1013904223) % 2 ** 32) / 2 ** 32;
}

function cloud(n: number, seed = 1): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: 2 * n }, () => next() * 10 - 5);
}

/** The even-odd rule, written out. */
function inside(corners: readonly number[], x: number, y: number): boolean {
  let odd = false;
  for (let a = 0; a < corners.length; a += 2) {
    const b = (a + 2) % corners.length;
    const [ax, ay, bx, by] = [corners[a]!, corners[a + 1]!, corners[b]!, corners[b + 1]!];
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) {
      odd = !odd;
    }
  }
  return odd;
}

test.each([3, 5, 17, 200])('a lasso of %i corners has exactly the points of the even-odd rule', corners => {
  const next = random(corners);
  // its sides cross each other
  const outline = Array.from({ length: 2 * corners }, () => next() * 8 - 4);
  const xy = cloud(20_000);
  const rows = new Set(toRows(within(xy, new Lasso(outline))));
  const wrong = Array.from({ length: 20_000 }, (_, row) => row).filter(
    row => rows.has(row) !== inside(outline, xy[2 * row]!, xy[2 * row + 1]!)
  );
  expect(wrong).toEqual([]);
  expect(rows.size).toBeGreaterThan(0);
});

test('a lasso without area holds nothing, and a row without a place is in none', () => {
  const xy = Float32Array.from([0, 0, NaN, 0, 0, NaN, 1, 1]);
  expect(within(xy, new Lasso([-1, -1, 3, 3]))).toEqual(new Uint8Array(1));
  expect(count(within(xy, new Lasso([])))).toBe(0);
  expect(toRows(within(xy, boxLasso({ x0: -1, x1: 1, y0: -1, y1: 1 })))).toEqual([0, 3]);
});

test('what is picked is replaced, added to, or taken from', () => {
  const [a, b] = [fromRows([1, 9]), fromRows([1, 30])];
  expect(toRows(combine(a, b, 'replace'))).toEqual([1, 30]);
  expect(toRows(combine(a, b, 'add'))).toEqual([1, 9, 30]);
  expect(toRows(combine(a, b, 'remove'))).toEqual([9]);
  expect(combine(a, a, 'remove').length).toBe(0);
  expect(sameBits(fromRows([1]), combine(fromRows([1, 90]), fromRows([90]), 'remove'))).toBe(true);
  expect(sameBits(a, b)).toBe(false);
});

test.each([1, 2, 50, 5000])('of %i points the grid finds the nearest', n => {
  const xy = cloud(n);
  xy[0] = xy[1] = NaN;
  const grid = new Grid(xy);
  const next = random(7);
  for (let trial = 0; trial < 200; trial += 1) {
    const [x, y, reach] = [next() * 12 - 6, next() * 12 - 6, next() * 3];
    const distance = (row: number): number => Math.hypot(xy[2 * row]! - x, xy[2 * row + 1]! - y);
    const near = Array.from({ length: n }, (_, row) => row).filter(row => distance(row) < reach);
    const best = near.reduce<number | null>((a, b) => (a === null || distance(b) < distance(a) ? b : a), null);
    expect(grid.nearest(x, y, reach, reach)).toBe(best);
  }
});

test('of points at one place the grid finds the one on top', () => {
  expect(new Grid(new Float32Array(6)).nearest(0.1, 0, 1, 1)).toBe(2);
  expect(new Grid(new Float32Array(2).fill(NaN)).nearest(0, 0, 1, 1)).toBeNull();
});

test.each([
  [0, 10, 5, '0 2 4 6 8 10'],
  [-1, 1, 4, '−1.0 −0.5 0 0.5 1.0'],
  [0.0012, 0.0019, 3, '0.0012 0.0014 0.0016 0.0018'],
  [-3e7, 3e7, 4, '−2e7 0 2e7'],
  [1999.99, 2000.01, 2, '1999.99 2000.00 2000.01'],
  [5, 5, 4, ''],
  [NaN, 1, 4, '']
])('an axis from %d to %d has round numbers', (low, high, wanted, texts) => {
  expect(
    ticks(low, high, wanted)
      .map(tick => tick.text)
      .join(' ')
  ).toBe(texts);
});

test('all points are seen, on one scale where the ranges are comparable', () => {
  const view = fitted({ x0: 0, x1: 2, y0: 0, y1: 1 }, 400, 400);
  expect(mapOf(view, 400, 400).sx).toBeCloseTo(-mapOf(view, 400, 400).sy);
  expect([view.x0 < 0, view.x1 > 2, view.y0 < 0, view.y1 > 1]).toEqual([true, true, true, true]);
  const unlike = fitted({ x0: 0, x1: 1000, y0: 0, y1: 1 }, 400, 400);
  expect(unlike.y1).toBeLessThan(1.2);
  for (const box of [null, { x0: 3, x1: 3, y0: 4, y1: 4 }, { x0: 0, x1: 0, y0: 0, y1: 1 }]) {
    const { x0, x1, y0, y1 } = fitted(box, 400, 300);
    expect([x1 > x0, y1 > y0]).toEqual([true, true]);
  }
});

test('zooming keeps the point under the hand where it is, and has an end', () => {
  const home = { x0: 0, x1: 10, y0: 0, y1: 10 };
  const near = zoomed(home, 2, 8, 4, home);
  expect((2 - near.x0) / (near.x1 - near.x0)).toBeCloseTo(0.2);
  expect(near.x1 - near.x0).toBeCloseTo(2.5);
  let view = home;
  for (let step = 0; step < 200; step += 1) {
    view = zoomed(view, 5, 5, 2, home);
  }
  expect(view.x1 - view.x0).toBeGreaterThan(1e-4);
});

test('bounds leave out what has no place', () => {
  expect(boundsOf(Float32Array.from([1, 2, NaN, 9, Infinity, 9, -1, 5]))).toEqual({ x0: -1, x1: 1, y0: 2, y1: 5 });
  expect(boundsOf(new Float32Array(4).fill(NaN))).toBeNull();
});

test('rows between two places are mixed', () => {
  const places = new Places(2);
  places.set(Float32Array.from([0, 0, 1, NaN]), Float32Array.from([4, 8, 3, 0]), 0.25);
  expect([...places.now]).toEqual([1, 2, 1.5, NaN]);
  expect(places.at(0)).toEqual([1, 2]);
  expect(places.nearest(1.2, 2, 1, 1)).toBe(0);
  places.set(places.from, places.to, 1);
  expect(places.nearest(4, 8, 1, 1)).toBe(0);
});

test('an arrow key goes to the next point on that side of the screen', () => {
  const xy = Float32Array.from([0, 0, 1, 0.2, 5, 0, 0, 2, -1, 0, NaN, NaN]);
  const to = (dx: number, dy: number): number | null => nextRow(xy, 0, [10, -10], [dx, dy]);
  expect([to(1, 0), to(-1, 0), to(0, -1), to(0, 1)]).toEqual([1, 4, 3, null]);
});

const WICKED = '<img src=x onerror="throw 1">';
const LABELS: Column = {
  ...{ name: WICKED, kind: 'label', cyclic: false, levels: ['a', WICKED], low: 0, high: 0, width: 1 },
  values: new DataView(Uint8Array.from([0, 1, 1, 255]).buffer)
};

function made(): { plot: Scatter; life: AbortController; picks: Bits[]; stage: HTMLElement } {
  const life = new AbortController();
  const picks: Bits[] = [];
  const events = { pick: (bits: Bits) => void picks.push(bits), hover: () => undefined, describe: () => [WICKED] };
  const plot = new Scatter(4, events, life.signal);
  document.body.append(plot.element);
  return { plot, life, picks, stage: plot.element.querySelector<HTMLElement>('.nbi-stage')! };
}

afterEach(() => {
  document.body.replaceChildren();
  vi.useRealTimers();
});

test('without WebGL a plot says so, and is there', () => {
  const { plot } = made();
  plot.place(cloud(4));
  expect(plot.element.querySelector('.nbi-scatter-note')?.textContent).toContain('no WebGL2');
  expect(plot.picture()).toBeNull();
});

test('keys choose tools and pick all and none', () => {
  const { plot, picks, stage } = made();
  plot.place(Float32Array.from([0, 0, 1, 1, NaN, 2, 3, 3]));
  const press = (key: string, more: KeyboardEventInit = {}): void =>
    void stage.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }));
  press('b');
  expect(plot.tool).toBe('box');
  expect(plot.element.querySelector('[aria-pressed=true]')?.getAttribute('aria-label')).toContain('Box');
  press('a', { ctrlKey: true });
  expect(toRows(picks.at(-1)!)).toEqual([0, 1, 3]);
  press('Escape');
  expect(picks.at(-1)!.length).toBe(0);
});

test('keys that are not the plot’s go on to the notebook', () => {
  const { stage } = made();
  const heard = vi.fn();
  document.body.addEventListener('keydown', heard);
  for (const [key, more] of [
    ['Enter', { shiftKey: true }],
    ['s', { ctrlKey: true }],
    ['Tab', {}]
  ] as const) {
    stage.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }));
  }
  expect(heard).toHaveBeenCalledTimes(3);
  stage.dispatchEvent(new KeyboardEvent('keydown', { key: 'b', bubbles: true, cancelable: true }));
  expect(heard).toHaveBeenCalledTimes(3);
});

test('a label of the legend picks its rows, shift adds, and a second click lets go', () => {
  const life = new AbortController();
  const picks: number[][] = [];
  const legend: Legend = new Legend(bits => {
    picks.push(toRows(bits));
    legend.update(LABELS, bits);
  }, life.signal);
  legend.update(LABELS, new Uint8Array(0));
  const [a, wicked] = legend.element.querySelectorAll('button');
  const click = (button: Element | undefined, shiftKey = false): void =>
    void button?.dispatchEvent(new MouseEvent('click', { bubbles: true, shiftKey }));
  click(wicked);
  expect(wicked?.getAttribute('aria-pressed')).toBe('true');
  click(a, true);
  click(a);
  click(a);
  expect(picks).toEqual([[1, 2], [0, 1, 2], [0], []]);
  expect(legend.element.querySelector('img')).toBeNull();
  expect(wicked?.textContent).toContain(WICKED);
});

test('nothing listens after the end', () => {
  const { plot, life, picks, stage } = made();
  plot.place(cloud(4));
  life.abort();
  stage.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', ctrlKey: true, bubbles: true }));
  expect(picks).toEqual([]);
});
