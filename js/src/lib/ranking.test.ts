import { expect, test } from 'vitest';
import { roundScale, settle } from './ranking';

const values = (entries: Record<string, number>): Map<string, number> => new Map(Object.entries(entries));

test('a first order is by value', () =>
  expect(settle([], values({ a: 0.1, b: 0.5, c: 0.3 }), 0.01)).toEqual(['b', 'c', 'a']));

test('nearly equal rows stay where they are', () => {
  expect(settle(['a', 'b'], values({ a: 0.3, b: 0.305 }), 0.01)).toEqual(['a', 'b']);
  expect(settle(['a', 'b'], values({ a: 0.3, b: 0.32 }), 0.01)).toEqual(['b', 'a']);
});

test('a row that is gone leaves, a new one finds its place', () =>
  expect(settle(['a', 'gone', 'b'], values({ a: 0.5, b: 0.2, fresh: 0.4 }), 0.01)).toEqual(['a', 'fresh', 'b']));

test('an axis ends at a round number', () => {
  expect([0, 0.1, 0.11, 0.34, 0.5, 0.97, 1].map(roundScale)).toEqual([0.1, 0.1, 0.2, 0.4, 0.6, 1, 1]);
});
