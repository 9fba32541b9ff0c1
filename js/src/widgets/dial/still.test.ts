import { describe, expect, it } from 'vitest';
import type { DialSweep } from '../../lib/protocol';
import { answerFrom } from './still';

const sweep: DialSweep = {
  layer: 5,
  token: 2,
  start: 0,
  total: 4,
  angles: [0, Math.PI / 2, Math.PI, (3 * Math.PI) / 2],
  series: [
    { text: ' a', base: 0.1, turned: [0.2, 0.4, 0.6, 0.8], control: [0.1, 0.1, 0.1, 0.1] },
    { text: ' b', base: 0.5, turned: [0.5, 0.3, 0.1, 0.1], control: [0.5, 0.4, 0.3, 0.2] }
  ]
};

describe('a stored sweep', () => {
  it('gives back what was measured at its angles', () => {
    const { candidates } = answerFrom(sweep, Math.PI);
    expect(candidates.map(({ text, turned }) => [text, turned])).toEqual([
      [' a', 0.6],
      [' b', 0.1]
    ]);
  });
  it('goes straight from one angle to the next, across the start as well', () => {
    const at = (angle: number): number => answerFrom(sweep, angle).candidates.find(c => c.text === ' a')?.turned ?? 0;
    expect(at(Math.PI / 4)).toBeCloseTo(0.3, 12);
    expect(at((7 * Math.PI) / 4)).toBeCloseTo(0.5, 12);
  });
});
