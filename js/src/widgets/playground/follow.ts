/** The answer between the samples of a stored curve: what a slider shows without Python behind it. */

import { interpolate } from '../../lib/plot';
import type { Curve, PlaygroundAnswer, Response, Tracked } from '../../lib/protocol';

/** The answer with its probabilities read off a curve; what the curve does not hold is not known. */
export function follow(answer: PlaygroundAnswer, curve: Curve, value: number): PlaygroundAnswer {
  const at = (of: readonly number[]): number => interpolate(curve.values, of, value);
  const candidates = curve.series.map(({ text, base, changed, control }) => ({
    text,
    base,
    changed: at(changed),
    control: at(control)
  }));
  const tracked = answer.tracked.map((one): Tracked => {
    const series: Response | undefined = curve.series.find(({ text }) => text === one.text);
    const standing = (of: readonly number[] | undefined): Tracked['changed'] => ({
      probability: of === undefined ? NaN : at(of),
      logit: NaN,
      rank: 0
    });
    return { ...one, changed: standing(series?.changed), control: standing(series?.control) };
  });
  return { ...answer, candidates, tracked, moved: [], warnings: [], kl: NaN, kl_control: NaN };
}
