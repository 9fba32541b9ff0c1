/** What the dial shows at one moment, read from the synced traits in one place. */

import { nearest, sameAngle, shortestTurn, signedDegrees } from '../../lib/angles';
import { place } from '../../lib/labels';
import type { DialAnswer, DialSpec, DialSweep, Label, Layer } from '../../lib/protocol';

/** The traits that Python and the page share. */
export interface DialTraits {
  spec: DialSpec;
  angle: number;
  layer: number;
  token: number;
  answer: DialAnswer | null;
  sweep: DialSweep | null;
  problem: string;
}

/** A read-only look at the traits. */
export interface Traits {
  get<K extends keyof DialTraits>(name: K): DialTraits[K];
}

export interface Moment {
  spec: DialSpec;
  /** The layer that is shown; null where the spec has none. */
  layer: Layer | null;
  labels: Label[];
  angle: number;
  token: number;
  /** Where the token is at this layer; null until the model has said so. */
  start: number | null;
  answer: DialAnswer | null;
  /** Whether the answer belongs to what is shown. */
  current: boolean;
  /** The sweep, if it belongs to this layer and token. */
  sweep: DialSweep | null;
  sweepDone: boolean;
  working: boolean;
  problem: string;
}

/** Python may say "nothing yet" with null or with an empty dictionary. */
function filled<T extends object>(message: T | null, field: keyof T): T | null {
  return message !== null && field in message ? message : null;
}

export function readMoment(traits: Traits): Moment {
  const spec = traits.get('spec');
  const angle = traits.get('angle');
  const number = traits.get('layer');
  const token = traits.get('token');
  const answer = filled(traits.get('answer'), 'candidates');
  const problem = traits.get('problem');
  const layer = spec.layers.find(candidate => candidate.layer === number) ?? null;
  const here = (what: { layer: number; token: number } | null): boolean =>
    what !== null && what.layer === number && what.token === token;
  const candidateSweep = filled(traits.get('sweep'), 'series');
  const sweep = here(candidateSweep) ? candidateSweep : null;
  const current = answer !== null && here(answer) && sameAngle(answer.angle, angle);
  const sweepDone = sweep !== null && sweep.angles.length >= sweep.total;
  return {
    spec,
    layer,
    labels: layer?.labels ?? [],
    angle,
    token,
    start: here(answer) ? (answer?.start ?? null) : (sweep?.start ?? null),
    answer,
    current,
    sweep,
    sweepDone,
    // after a problem nobody is working: the hand can be moved again
    working: problem === '' && (!current || (sweep !== null && !sweepDone)),
    problem
  };
}

/** "June, +90° from March". */
export function placeInWords(moment: Moment): string {
  const here = place(moment.labels, moment.angle);
  return moment.start === null ? here : `${here}, ${turnInWords(moment.labels, moment.start, moment.angle)}`;
}

/** "+90° from March". */
export function turnInWords(labels: readonly Label[], start: number, angle: number): string {
  const label =
    labels[
      nearest(
        labels.map(candidate => candidate.angle),
        start
      )
    ];
  return `${signedDegrees(shortestTurn(start, angle))} from ${label?.text ?? 'the start'}`;
}
