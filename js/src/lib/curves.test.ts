import { expect, test } from 'vitest';
import { TURN } from './angles';
import { aroundOnce, pathThrough, widestGap } from './curves';

const same = (value: number): number => value;

test('samples are put in order and the circle is closed', () => {
  const samples = aroundOnce([TURN / 2, 0, TURN / 4, (3 * TURN) / 4], [0.2, 0.9, 0.1, 0.3]);
  expect(samples.map(sample => sample.value)).toEqual([0.9, 0.1, 0.2, 0.3, 0.9]);
  expect(samples.at(-1)?.angle).toBe(TURN);
});

test('a sweep on its way is not closed', () => expect(aroundOnce([0, 0.1, 0.2], [1, 1, 1])).toHaveLength(3));

test('values that have not come yet are not made up', () => expect(aroundOnce([0, 1, 2], [0.5])).toHaveLength(1));

test('a line does not cross what has not been looked at', () => {
  const samples = [0, 1, 2, 6].map(angle => ({ angle, value: 0 }));
  expect(widestGap(samples)).toBeCloseTo(2.1);
  expect(pathThrough(samples, same, same)).toBe('M0 0L1 0L2 0M6 0h0');
});

test('a coarse sweep is a line too', () => {
  const samples = [0, 3, 6].map(angle => ({ angle, value: 0 }));
  expect(pathThrough(samples, same, same)).toBe('M0 0L3 0L6 0');
});
