import { describe, expect, test } from 'vitest';
import {
  afterKey,
  angleAt,
  arcPath,
  degrees,
  neighbour,
  nearest,
  normalise,
  onCircle,
  onScreen,
  sameAngle,
  shortestTurn,
  signedDegrees,
  TURN
} from './angles';

const deg = (value: number): number => (value / 360) * TURN;
const MONTHS = Array.from({ length: 12 }, (_, j) => (TURN * j) / 12);

test.each([
  [0, 0],
  [360, 0],
  [-90, 270],
  [725, 5],
  [-720, 0]
])('%d° is %d°', (from, to) => expect(normalise(deg(from))).toBeCloseTo(deg(to), 12));

test('a tiny negative angle is not a whole turn', () => expect(normalise(-1e-17)).toBe(0));

test.each([
  [0, 90, 90],
  [0, 270, -90],
  [350, 10, 20],
  [10, 350, -20],
  [0, 180, 180]
])('the shortest way from %d° to %d° is %d°', (from, to, way) =>
  expect(shortestTurn(deg(from), deg(to))).toBeCloseTo(deg(way), 12)
);

test('the clock: 0 is at the top, a quarter is to the right', () => {
  expect(onCircle(0, 10)).toMatchObject({ x: 0, y: -10 });
  expect(onCircle(deg(90), 10).x).toBeCloseTo(10);
  for (const angle of MONTHS) {
    expect(sameAngle(angleAt(onCircle(angle, 7)), angle)).toBe(true);
  }
});

test('a point of the plane lies where its angle does', () => {
  const angle = deg(70);
  const there = onScreen({ x: Math.cos(angle), y: Math.sin(angle) }, 5);
  const wanted = onCircle(angle, 5);
  expect(there.x).toBeCloseTo(wanted.x);
  expect(there.y).toBeCloseTo(wanted.y);
});

test('the arc goes the short way round', () => {
  expect(arcPath(0, deg(90), 10)).toBe('M0 -10A10 10 0 0 1 10 0');
  expect(arcPath(0, deg(270), 10)).toBe('M0 -10A10 10 0 0 0 -10 0');
});

describe('keys', () => {
  const start = deg(60);
  test.each([
    ['ArrowRight', 60, 65],
    ['ArrowUp', 358, 3],
    ['ArrowLeft', 0, 355],
    ['ArrowDown', 60, 55],
    ['PageUp', 60, 90],
    ['PageUp', 65, 90],
    ['PageUp', 340, 0],
    ['PageDown', 0, 330],
    ['PageDown', 65, 60],
    ['Home', 200, 60],
    ['Escape', 200, 60]
  ])('%s at %d° goes to %d°', (key, from, to) =>
    expect(afterKey(key, deg(from), MONTHS, start)).toBeCloseTo(deg(to), 9)
  );
  test.each(['Tab', 'a', 'Enter'])('%s is left to others', key => expect(afterKey(key, 0, MONTHS, start)).toBeNull());
});

test('without labels there is no next one', () => {
  expect(neighbour([], 1, 1)).toBe(1);
  expect(nearest([], 1)).toBe(-1);
});

test('degrees are rounded and signed', () => {
  expect(signedDegrees(deg(-15))).toBe('−15°');
  expect(signedDegrees(deg(90))).toBe('+90°');
  expect(signedDegrees(0)).toBe('0°');
  expect(degrees(TURN - 1e-9)).toBe(0);
  expect(degrees(deg(59.96))).toBe(60);
});
