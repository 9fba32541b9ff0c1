import { expect, test } from 'vitest';
import { inPi, interpolate, linePath, place, spread, ticks, turnTicks, valueAtPlace } from './plot';

test('a place and its value are each other’s reverse, and the ends hold', () => {
  const scale = { low: -4, high: 4, from: 40, to: 440 };
  for (const value of [-4, -1.5, 0, 4]) {
    expect(valueAtPlace(scale, place(scale, value))).toBeCloseTo(value);
  }
  expect([valueAtPlace(scale, 0), valueAtPlace(scale, 999)]).toEqual([-4, 4]);
  expect(place({ ...scale, high: -4 }, -4)).toBe(240);
});

test.each<[number, number, number, number[]]>([
  [-4, 4, 4, [-4, -2, 0, 2, 4]],
  [0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
  [0.03, 0.31, 3, [0.1, 0.2, 0.3]],
  [2, 2, 3, []]
])('ticks from %d to %d, about %d', (low, high, n, wanted) => {
  expect(ticks(low, high, n)).toEqual(wanted);
});

test('angles are written in π', () => {
  expect(turnTicks(-Math.PI, Math.PI).map(inPi)).toEqual(['−π', '−π/2', '0', 'π/2', 'π']);
  expect(turnTicks(0, 2 * Math.PI).map(inPi)).toEqual(['0', 'π/2', 'π', '3π/2', '2π']);
});

test('a line is known between its samples, in whatever order they came', () => {
  const [xs, ys] = [
    [0, 4, 2],
    [1, 5, 2]
  ];
  expect([0, 1, 2, 3, 4].map(at => interpolate(xs, ys, at))).toEqual([1, 1.5, 2, 3.5, 5]);
  // beyond its ends it stays what it was there; nothing is nothing
  expect([interpolate(xs, ys, -1), interpolate(xs, ys, 9), interpolate([], [], 1)]).toEqual([1, 5, NaN]);
});

test('a path goes through its samples from left to right, and leaves out what is missing', () => {
  const same = (value: number): number => value;
  expect(linePath([2, 0, 1, 3], [20, 0, NaN, 30], same, same)).toBe('M0 0L2 20L3 30');
  expect(linePath([1], [5], same, same)).toBe('M1 5h0');
  expect(linePath([], [], same, same)).toBe('');
});

test('labels keep their distance, their order and the frame', () => {
  const places = spread([10, 12, 11, 95, 96], 14, 0, 100);
  const sorted = [...places].sort((a, b) => a - b);
  sorted.slice(1).forEach((at, index) => expect(at - sorted[index]!).toBeGreaterThanOrEqual(14));
  expect(
    places
      .map((at, index) => [at, index])
      .sort((a, b) => a[0]! - b[0]!)
      .map(([, index]) => index)
  ).toEqual([0, 2, 1, 3, 4]);
  expect(Math.max(...places)).toBeLessThanOrEqual(100);
});
