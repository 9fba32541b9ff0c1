/** The next tokens: a headline, and a table with three bars a row. */

import { html } from '../../lib/elements';
import type { Candidate, DialAnswer } from '../../lib/protocol';
import { roundScale, settle } from '../../lib/ranking';
import { afterQuiet } from '../../lib/timing';
import { percent, spoken, visible, writeToken } from '../../lib/tokens';
import type { Moment } from './moment';

export const RUNS = ['base', 'turned', 'control'] as const;
export type Run = (typeof RUNS)[number];

/** What the three runs are called where people read it. */
export const RUN_NAMES: Readonly<Record<Run, string>> = { base: 'base', turned: 'turned', control: 'random' };

const ROWS = 8;
const MARGIN = 0.01;

/** The likeliest candidate of one run. */
export function topOf(answer: DialAnswer | null, run: Run): Candidate | null {
  return (answer?.candidates ?? []).reduce<Candidate | null>(
    (best, candidate) => (best === null || candidate[run] > best[run] ? candidate : best),
    null
  );
}

/** The candidates that are shown, in an order that follows `before`. */
export function shownCandidates(answer: DialAnswer, before: readonly string[]): Candidate[] {
  const byText = new Map(answer.candidates.map(candidate => [candidate.text, candidate]));
  const top = [...byText.values()]
    .sort((a, b) => Math.max(b.base, b.turned) - Math.max(a.base, a.turned))
    .slice(0, ROWS);
  const values = new Map(top.map(candidate => [candidate.text, Math.max(candidate.base, candidate.turned)]));
  return settle(before, values, MARGIN).flatMap(text => byText.get(text) ?? []);
}

interface Row {
  element: HTMLTableRowElement;
  bars: Record<Run, HTMLElement>;
  numbers: Record<Run, HTMLElement>;
}

export class Answers {
  readonly element = html('section', { class: 'nbi-answers', 'aria-label': 'Next token' });
  /** The rows as they stand, for the picture. */
  shown: Candidate[] = [];
  scale = 0.1;

  private readonly headline = html('p', { class: 'nbi-headline' });
  private readonly announcer = html('p', { class: 'nbi-hidden', 'aria-live': 'polite' });
  private readonly body = html('tbody');
  private readonly rows = new Map<string, Row>();
  private readonly announce: () => void;
  private drawn: DialAnswer | null = null;

  constructor(signal: AbortSignal) {
    // a screen reader hears the sentence once the hand rests
    this.announce = afterQuiet(() => (this.announcer.textContent = this.headline.textContent), 700, signal);
    const columns = RUNS.map(run =>
      html('th', { scope: 'col', class: `nbi-of-${run}` }, html('span', { class: 'nbi-swatch' }), RUN_NAMES[run])
    );
    const caption = html('caption', { class: 'nbi-hidden' }, 'Probability of the next token in the three runs');
    const first = html('th', { scope: 'col' }, 'next token');
    const head = html('thead', {}, html('tr', {}, first, html('td'), ...columns));
    this.element.append(this.headline, html('table', {}, caption, head, this.body), this.announcer);
  }

  update(moment: Moment): void {
    this.element.classList.toggle('nbi-stale', !moment.current);
    if (moment.answer === this.drawn && moment.answer !== null) {
      return;
    }
    this.drawn = moment.answer;
    this.headline.replaceChildren(...headlineOf(moment.answer));
    this.announce();
    if (moment.answer === null) {
      this.shown = [];
    } else {
      this.shown = shownCandidates(
        moment.answer,
        this.shown.map(candidate => candidate.text)
      );
      // the scale only grows, so that a bar that gets shorter means a smaller number
      this.scale = Math.max(this.scale, roundScale(Math.max(...this.shown.flatMap(row => RUNS.map(run => row[run])))));
    }
    this.arrange(topOf(moment.answer, 'turned')?.text);
  }

  private arrange(top: string | undefined): void {
    const before = new Map([...this.rows.values()].map(row => [row, row.element.offsetTop]));
    const kept = new Set(this.shown.map(candidate => candidate.text));
    for (const [text, row] of this.rows) {
      if (!kept.has(text)) {
        row.element.remove();
        this.rows.delete(text);
      }
    }
    this.shown.forEach((candidate, index) => {
      const row = this.rows.get(candidate.text) ?? newRow(candidate.text);
      this.rows.set(candidate.text, row);
      if (this.body.children[index] !== row.element) {
        this.body.insertBefore(row.element, this.body.children[index] ?? null);
      }
      row.element.classList.toggle('nbi-top', candidate.text === top);
      for (const run of RUNS) {
        row.bars[run].style.width = `${Math.min(100, (candidate[run] / this.scale) * 100)}%`;
        row.numbers[run].textContent = percent(candidate[run]);
      }
    });
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) {
      for (const [row, top_] of before) {
        slide(row.element, top_ - row.element.offsetTop);
      }
    }
  }
}

/** Let a row glide from where it stood. */
function slide(row: HTMLElement, distance: number): void {
  if (distance !== 0 && row.isConnected) {
    row.animate([{ transform: `translateY(${distance}px)` }, { transform: 'none' }], {
      duration: 180,
      easing: 'ease-out'
    });
  }
}

function newRow(text: string): Row {
  const bar = (run: Run): HTMLElement => html('span', { class: `nbi-bar nbi-of-${run}` });
  const number = (run: Run): HTMLElement => html('td', { class: `nbi-number nbi-of-${run}` });
  const bars = { base: bar('base'), turned: bar('turned'), control: bar('control') };
  const numbers = { base: number('base'), turned: number('turned'), control: number('control') };
  const name = html('th', { scope: 'row', class: 'nbi-token', title: visible(text) });
  writeToken(name, text);
  const track = html('td', { class: 'nbi-bars', 'aria-hidden': 'true' }, ...RUNS.map(run => bars[run]));
  return { element: html('tr', {}, name, track, ...RUNS.map(run => numbers[run])), bars, numbers };
}

/** "base: April 34 % → turned: October 41 % · random direction: April 30 %". */
export function headlineOf(answer: DialAnswer | null): Node[] {
  const part = (words: string, run: Run): Node[] => {
    const top = topOf(answer, run);
    if (top === null) {
      return [];
    }
    const token = html('strong', {}, spoken(top.text));
    return [html('span', { class: `nbi-part nbi-of-${run}` }, `${words} `, token, ` ${percent(top[run])}`)];
  };
  const parts = [part('base:', 'base'), part('→ turned:', 'turned'), part('· random direction:', 'control')];
  const nodes = parts.flat().flatMap((node, index) => (index === 0 ? [node] : [document.createTextNode(' '), node]));
  return nodes.length > 0 ? nodes : [html('span', { class: 'nbi-part' }, 'no answer yet')];
}
