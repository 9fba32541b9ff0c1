import { expect, test } from 'vitest';
import { TURN } from './angles';
import { aroundCircle, everyLabel, place, withoutOverlap } from './labels';

const around = (n: number): number[] => Array.from({ length: n }, (_, j) => (TURN * j) / n);

test('labels stand outside, on their side of the circle', () => {
  const [top, right, bottom, left] = aroundCircle(around(4), 100);
  expect([top?.anchor, right?.anchor, bottom?.anchor, left?.anchor]).toEqual(['middle', 'start', 'middle', 'end']);
  expect(top?.y).toBeLessThan(-95);
  expect(bottom?.y).toBeGreaterThan(100);
});

test('all of twelve labels fit, of a hundred only some', () => {
  expect(aroundCircle(around(12), 120).every(label => label.shown)).toBe(true);
  const shown = aroundCircle(around(100), 120).filter(label => label.shown);
  expect(shown.length).toBeGreaterThan(10);
  expect(shown.length).toBeLessThan(45);
});

test('labels below an axis thin out with its width', () => {
  const months = Array<string>(12).fill('September');
  expect(everyLabel(months, 1000)).toBe(1);
  expect(everyLabel(months, 400)).toBe(3);
  expect(everyLabel([], 400)).toBe(1);
});

test('of labels that collide the higher stays', () => {
  const peaks = [
    { index: 0, x: 10, y: 50, width: 40 },
    { index: 1, x: 20, y: 45, width: 40 },
    { index: 2, x: 20, y: 90, width: 40 },
    { index: 3, x: 200, y: 50, width: 40 }
  ];
  expect(withoutOverlap(peaks).map(peak => peak.index)).toEqual([1, 3, 2]);
  expect(withoutOverlap(peaks, 13, 1).map(peak => peak.index)).toEqual([1]);
});

test('a place between two labels is near one', () => {
  const labels = [
    { text: 'North', angle: 0 },
    { text: 'South', angle: Math.PI }
  ];
  expect(place(labels, 0.01)).toBe('North');
  expect(place(labels, 1.2)).toBe('near North');
  expect(place([], Math.PI)).toBe('180°');
});
