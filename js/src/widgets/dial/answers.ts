/** The next tokens: a headline, and a table with three bars a row. */

import { ChanceTable, headline, likeliest, type RunName } from '../../lib/bars';
import { html } from '../../lib/elements';
import type { Candidate, DialAnswer } from '../../lib/protocol';
import { afterQuiet } from '../../lib/timing';
import type { Moment } from './moment';

export const RUNS = ['base', 'turned', 'control'] as const;
export type Run = (typeof RUNS)[number];

/** What the three runs are called where people read it. */
export const RUN_NAMES: Readonly<Record<Run, string>> = { base: 'base', turned: 'turned', control: 'random' };

const NAMED: readonly RunName<Run>[] = [
  { run: 'base', name: RUN_NAMES.base, said: 'base:' },
  { run: 'turned', name: RUN_NAMES.turned, said: '→ turned:' },
  { run: 'control', name: RUN_NAMES.control, said: '· random direction:' }
];

/** The likeliest candidate of one run. */
export function topOf(answer: DialAnswer | null, run: Run): Candidate | null {
  return likeliest<Run>(answer?.candidates ?? [], run);
}

export class Answers {
  readonly element = html('section', { class: 'nbi-answers', 'aria-label': 'Next token' });

  private readonly headline = html('p', { class: 'nbi-headline' });
  private readonly announcer = html('p', { class: 'nbi-hidden', 'aria-live': 'polite' });
  private readonly table = new ChanceTable<Run>(NAMED, 'Probability of the next token in the three runs');
  private readonly announce: () => void;
  private drawn: DialAnswer | null = null;

  constructor(signal: AbortSignal) {
    // a screen reader hears the sentence once the hand rests
    this.announce = afterQuiet(() => (this.announcer.textContent = this.headline.textContent), 700, signal);
    this.element.append(this.headline, this.table.element, this.announcer);
  }

  /** The rows as they stand, for the picture. */
  get shown(): readonly Candidate[] {
    return this.table.shown;
  }

  get scale(): number {
    return this.table.scale;
  }

  update(moment: Moment): void {
    this.element.classList.toggle('nbi-stale', !moment.current);
    if (moment.answer === this.drawn && moment.answer !== null) {
      return;
    }
    this.drawn = moment.answer;
    const candidates = moment.answer?.candidates ?? [];
    this.headline.replaceChildren(...headline<Run>(candidates, NAMED));
    this.announce();
    this.table.update(candidates);
  }
}
