/** The next token: a headline, the distribution in three runs, the tokens that are followed. */

import { ChanceTable, headline, type Extra, type RunName } from '../../lib/bars';
import { iconButton, relabel } from '../../lib/controls';
import { html } from '../../lib/elements';
import { Keyed } from '../../lib/keyed';
import type { Chance, PlaygroundAnswer, Standing, Tracked } from '../../lib/protocol';
import { afterQuiet } from '../../lib/timing';
import { percent, visible, writeToken } from '../../lib/tokens';
import { track, untrack } from './edits';
import type { Hand } from './hand';
import type { Moment } from './moment';

export type Run = 'base' | 'changed' | 'control';

export const RUNS: readonly RunName<Run>[] = [
  { run: 'base', name: 'base', said: 'base:' },
  { run: 'changed', name: 'changed', said: '→ changed:' },
  { run: 'control', name: 'random', said: '· random direction:' }
];

/** A difference of two probabilities in points of percent, with its sign: "+12.3", "−0.4". */
export function points(difference: number): string {
  const value = difference * 100;
  const text = Math.abs(value) >= 9.95 ? String(Math.round(value)) : value.toFixed(1);
  return Number(text) === 0 ? '0' : text.startsWith('-') ? text.replace('-', '−') : `+${text}`;
}

/** A number with a true minus sign. */
export function decimal(value: number, digits = 2): string {
  return Number.isFinite(value) ? value.toFixed(digits).replace('-', '−') : '–';
}

/** The logit difference of the first two tokens that are followed, in the three runs. */
export function logitDifference(tracked: readonly Tracked[]): Record<Run, number> | null {
  const [a, b] = tracked;
  const of = (run: Run): number => (a?.[run].logit ?? NaN) - (b?.[run].logit ?? NaN);
  return a === undefined || b === undefined
    ? null
    : { base: of('base'), changed: of('changed'), control: of('control') };
}

interface TrackedRow {
  element: HTMLElement;
  cells: HTMLElement[];
}

export class Answer {
  readonly headline = html('p', { class: 'nbi-headline' });
  readonly element = html('section', { class: 'nbi-answer', role: 'group', 'aria-label': 'Next token' });
  readonly tracking = html('section', { class: 'nbi-tracking', role: 'group', 'aria-label': 'Tracked tokens' });

  private readonly announcer = html('p', { class: 'nbi-hidden', 'aria-live': 'polite' });
  private readonly table: ChanceTable<Run>;
  private readonly away = html('p', { class: 'nbi-kl' });
  private readonly rows: Keyed<Tracked, TrackedRow>;
  private readonly trackedTable: HTMLTableElement;
  private readonly difference = html('p', { class: 'nbi-difference' });
  private readonly field: HTMLInputElement;
  private readonly form: HTMLElement;
  private readonly announce: () => void;
  private tracked: ReadonlySet<string> = new Set();
  private drawn: unknown[] = [];
  private rowTexts: string[] = [];

  constructor(
    private readonly hand: Hand,
    private readonly signal: AbortSignal
  ) {
    // a screen reader hears the sentence once the hand rests
    this.announce = afterQuiet(() => (this.announcer.textContent = this.headline.textContent), 700, signal);
    this.table = new ChanceTable<Run>(RUNS, 'Probability of the next token in the three runs', [
      this.differenceColumn(),
      this.pinColumn()
    ]);
    this.element.append(this.table.element, this.away, this.announcer);

    const columns = ['token', 'probability', 'logit', 'rank'].map(name => html('th', { scope: 'col' }, name));
    const head = html('thead', {}, html('tr', {}, ...columns, html('td')));
    const body = html('tbody');
    const caption = html(
      'caption',
      { class: 'nbi-hidden' },
      'Tracked tokens: base to changed, and the random direction'
    );
    this.trackedTable = html('table', { class: 'nbi-tracked' }, caption, head, body);
    this.rows = new Keyed(
      body,
      one => one.text,
      one => this.trackedRow(one.text),
      (row, one) => writeTracked(row, one)
    );
    this.field = html('input', {
      ...{
        type: 'text',
        class: 'nbi-field',
        'aria-label': 'Track a token',
        placeholder: 'track a token, e.g. “ Paris”'
      },
      ...{ autocomplete: 'off', spellcheck: 'false' }
    });
    const add = iconButton('pin', 'Track', signal, () => this.trackTyped());
    this.field.addEventListener('keydown', event => event.key === 'Enter' && this.trackTyped(), { signal });
    this.form = html('div', { class: 'nbi-track-form' }, this.field, add);
    const title = html('h2', { class: 'nbi-heading' }, 'Tracked tokens');
    this.tracking.append(
      html('div', { class: 'nbi-heading-line' }, title, this.form),
      this.trackedTable,
      this.difference
    );
  }

  /** The rows as they stand, for the picture. */
  get shown(): readonly Chance[] {
    return this.table.shown;
  }

  get scale(): number {
    return this.table.scale;
  }

  /** `answer` is what is shown, which without Python follows the stored curve. */
  update(moment: Moment, answer: PlaygroundAnswer | null, stale: boolean): void {
    for (const element of [this.headline, this.element, this.tracking]) {
      element.classList.toggle('nbi-stale', stale);
    }
    this.form.hidden = moment.still;
    const inputs = [answer, moment.setting.tracked, moment.still];
    if (inputs.every((input, index) => input === this.drawn[index]) && this.drawn.length > 0) {
      return;
    }
    this.drawn = inputs;
    this.tracked = new Set(moment.setting.tracked);
    const candidates = answer?.candidates ?? [];
    this.headline.replaceChildren(...headline<Run>(candidates, RUNS));
    this.announce();
    this.table.update(candidates);
    this.away.textContent = answer === null ? '' : inWordsAway(answer);
    const rows = trackedRows(moment.setting.tracked, answer?.tracked ?? []);
    this.rowTexts = rows.map(row => row.text);
    this.rows.update(rows);
    this.tracking.classList.toggle('nbi-by-itself', moment.setting.tracked.length === 0);
    this.trackedTable.hidden = rows.length === 0;
    this.difference.replaceChildren(...differenceInWords(rows));
    this.tracking.hidden = moment.still && rows.length === 0;
  }

  private differenceColumn(): Extra<Run> {
    return {
      heading: 'change',
      className: 'nbi-change',
      make: () => [],
      write: (cell, chances) => {
        const difference = chances.changed - chances.base;
        cell.textContent = points(difference);
        cell.classList.toggle('nbi-up', difference > 0);
      }
    };
  }

  private pinColumn(): Extra<Run> {
    return {
      heading: html('span', { class: 'nbi-hidden' }, 'track'),
      className: 'nbi-pin',
      make: text => {
        const pin = iconButton(
          'pin',
          'Track',
          this.signal,
          () => this.hand.edit(this.tracked.has(text) ? untrack(text) : track(text)),
          { bare: true }
        );
        return [pin];
      },
      write: (cell, { text }) => {
        const pin = cell.querySelector('button');
        if (pin !== null) {
          const on = this.tracked.has(text);
          pin.setAttribute('aria-pressed', String(on));
          relabel(pin, `${on ? 'Stop tracking' : 'Track'} ${visible(text).slice(0, 60)}`);
        }
      }
    };
  }

  private trackTyped(): void {
    const text = this.field.value;
    if (text !== '') {
      this.field.value = '';
      this.hand.edit(track(text));
    }
  }

  private trackedRow(text: string): TrackedRow {
    const name = html('th', { scope: 'row', class: 'nbi-token', title: visible(text).slice(0, 300) });
    writeToken(name, text);
    const cells = ['probability', 'logit', 'rank'].map(() => html('td'));
    const remove = iconButton(
      'close',
      `Stop tracking ${visible(text).slice(0, 60)}`,
      this.signal,
      () => {
        // the text of the setting may be spelled otherwise than the model's
        const at = this.rowTexts.indexOf(text);
        this.hand.edit(untrack(this.hand.setting.tracked[at] ?? text));
        this.field.focus();
      },
      { bare: true }
    );
    return { element: html('tr', {}, name, ...cells, html('td', { class: 'nbi-pin' }, remove)), cells };
  }
}

const UNKNOWN: Standing = { probability: NaN, logit: NaN, rank: 0 };

/**
 * What is followed, in the order of the setting; a token that Python has not answered for yet has no numbers.
 * Where nobody has said what to follow, Python chooses.
 */
export function trackedRows(wanted: readonly string[], answered: readonly Tracked[]): Tracked[] {
  if (wanted.length === 0) {
    return [...answered];
  }
  const known = new Map(answered.map(one => [one.text, one]));
  const unknown = (text: string): Tracked => ({ text, base: UNKNOWN, changed: UNKNOWN, control: UNKNOWN });
  // a token may be written otherwise than the model spells it
  const inOrder = answered.length === wanted.length;
  return wanted.map((text, index) => known.get(text) ?? (inOrder ? answered[index] : undefined) ?? unknown(text));
}

function writeTracked(row: TrackedRow, one: Tracked): void {
  const [probability, logit, rank] = row.cells;
  const say = (cell: HTMLElement | undefined, of: (standing: Standing) => string): void => {
    const control = html('span', { class: 'nbi-of-control', title: 'random direction' }, `(${of(one.control)})`);
    const changed = html('span', { class: 'nbi-now' }, of(one.changed));
    cell?.replaceChildren(html('span', { class: 'nbi-was' }, of(one.base)), ' → ', changed, ' ', control);
  };
  say(probability, standing => percent(standing.probability));
  say(logit, standing => decimal(standing.logit, 1));
  say(rank, standing => (standing.rank > 0 ? String(standing.rank) : '–'));
}

function differenceInWords(tracked: readonly Tracked[]): Node[] {
  const difference = logitDifference(tracked);
  const [a, b] = tracked;
  if (difference === null || a === undefined || b === undefined) {
    return [];
  }
  const token = (text: string): HTMLElement => {
    const element = html('code', { class: 'nbi-token' });
    writeToken(element, text.slice(0, 40));
    return element;
  };
  const parts = [
    html('span', {}, 'logit difference '),
    token(a.text),
    html('span', {}, ' − '),
    token(b.text),
    html('span', {}, `: ${decimal(difference.base)} → `),
    html('strong', { class: 'nbi-now' }, decimal(difference.changed)),
    html('span', { class: 'nbi-of-control' }, ` (random direction ${decimal(difference.control)})`)
  ];
  return parts;
}

/** How far the whole distribution moved, beside the control's. */
function inWordsAway({ kl, kl_control }: PlaygroundAnswer): string {
  const nats = (value: number): string => (value < 0.005 && value > 0 ? '<0.01' : decimal(value));
  return Number.isFinite(kl)
    ? `The distribution moved by ${nats(kl)} nats (KL); the random direction moves it by ${nats(kl_control)}.`
    : '';
}
