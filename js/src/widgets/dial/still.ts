/** The dial without a kernel: the sweep that is stored answers for the model. */

import { shortestTurn } from '../../lib/angles';
import type { DialAnswer, DialSweep } from '../../lib/protocol';

const CANDIDATES = 8;

/** What the model says at an angle, from the two angles of the sweep on both sides of it. */
export function answerFrom(sweep: DialSweep, angle: number): DialAnswer {
  const byDistance = sweep.angles
    .map((at, index) => ({ index, distance: Math.abs(shortestTurn(at, angle)) }))
    .sort((a, b) => a.distance - b.distance);
  const [near, next] = byDistance;
  const between = (values: readonly number[]): number => {
    const here = values[near?.index ?? 0] ?? 0;
    const there = values[next?.index ?? 0] ?? here;
    const whole = (near?.distance ?? 0) + (next?.distance ?? 0);
    return whole === 0 ? here : here + ((there - here) * (near?.distance ?? 0)) / whole;
  };
  const candidates = sweep.series
    .map(({ text, base, turned, control }) => ({ text, base, turned: between(turned), control: between(control) }))
    .sort((a, b) => Math.max(b.base, b.turned) - Math.max(a.base, a.turned))
    .slice(0, CANDIDATES);
  return { angle, layer: sweep.layer, token: sweep.token, start: sweep.start, candidates, milliseconds: 0 };
}
