/** Next tokens in several runs of a model: a headline, and a table with a bar for each run. */

import './bars.css';
import { html } from './elements';
import { Keyed } from './keyed';
import { roundScale, settle } from './ranking';
import { percent, spoken, visible, writeToken } from './tokens';

/** A next token with its probability in each run. */
export type Chances<R extends string> = { text: string } & Readonly<Record<R, number>>;

/** A run, as people read it: `name` in a table, `said` in a sentence. */
export interface RunName<R extends string> {
  run: R;
  name: string;
  said: string;
}

/** A further cell at the end of each row. */
export interface Extra<R extends string> {
  heading: string | Node;
  className: string;
  make(text: string): HTMLElement[];
  write(cell: HTMLElement, chances: Chances<R>): void;
}

const ROWS = 8;
const MARGIN = 0.01;

/** The likeliest next token of one run. */
export function likeliest<R extends string>(all: readonly Chances<R>[], run: R): Chances<R> | null {
  return all.reduce<Chances<R> | null>((best, one) => (best === null || one[run] > best[run] ? one : best), null);
}

/** The tokens that are shown: the likeliest of the first two runs, in an order that follows `before`. */
export function shownChances<R extends string>(
  all: readonly Chances<R>[],
  runs: readonly RunName<R>[],
  before: readonly string[]
): Chances<R>[] {
  const best = (one: Chances<R>): number => Math.max(...runs.slice(0, 2).map(({ run }) => one[run]));
  const byText = new Map(all.map(one => [one.text, one]));
  const top = [...byText.values()].sort((a, b) => best(b) - best(a)).slice(0, ROWS);
  return settle(before, new Map(top.map(one => [one.text, best(one)])), MARGIN).flatMap(text => byText.get(text) ?? []);
}

/** "base: April 34 % → turned: October 41 % · random direction: April 30 %". */
export function headline<R extends string>(all: readonly Chances<R>[], runs: readonly RunName<R>[]): Node[] {
  const nodes = runs.flatMap(({ run, said }) => {
    const top = likeliest(all, run);
    if (top === null) {
      return [];
    }
    const token = html('strong', {}, spoken(top.text));
    const part = html('span', { class: `nbi-part nbi-of-${run}` }, `${said} `, token, ` ${percent(top[run])}`);
    return [document.createTextNode(' '), part];
  });
  return nodes.length > 0 ? nodes.slice(1) : [html('span', { class: 'nbi-part' }, 'no answer yet')];
}

interface Row<R extends string> {
  element: HTMLTableRowElement;
  bars: Record<R, HTMLElement>;
  numbers: Record<R, HTMLElement>;
  extras: HTMLElement[];
}

export class ChanceTable<R extends string> {
  readonly element: HTMLTableElement;
  /** The rows as they stand, for the picture. */
  shown: Chances<R>[] = [];
  scale = 0.1;

  private readonly rows: Keyed<Chances<R>, Row<R>>;
  private top: string | undefined;

  constructor(
    private readonly runs: readonly RunName<R>[],
    caption: string,
    private readonly extras: readonly Extra<R>[] = []
  ) {
    const columns = runs.map(({ run, name }) =>
      html('th', { scope: 'col', class: `nbi-of-${run}` }, html('span', { class: 'nbi-swatch' }), name)
    );
    const more = extras.map(extra => html('th', { scope: 'col', class: extra.className }, extra.heading));
    const first = html('th', { scope: 'col' }, 'next token');
    const head = html('thead', {}, html('tr', {}, first, html('td'), ...columns, ...more));
    const body = html('tbody');
    this.element = html(
      'table',
      { class: 'nbi-chances' },
      html('caption', { class: 'nbi-hidden' }, caption),
      head,
      body
    );
    this.rows = new Keyed(
      body,
      one => one.text,
      one => this.row(one.text),
      (row, one) => this.write(row, one)
    );
  }

  update(all: readonly Chances<R>[]): void {
    const before = this.shown.map(one => one.text);
    this.shown = shownChances(all, this.runs, before);
    // the scale only grows, so that a bar that gets shorter means a smaller number
    const highest = Math.max(0, ...this.shown.flatMap(one => this.runs.map(({ run }) => one[run])));
    this.scale = Math.max(this.scale, roundScale(highest));
    const changed = this.runs[1];
    this.top = changed === undefined ? undefined : likeliest(all, changed.run)?.text;
    this.rows.update(this.shown, { glide: true });
  }

  private row(text: string): Row<R> {
    const each = (make: (run: R) => HTMLElement): Record<R, HTMLElement> =>
      Object.fromEntries(this.runs.map(({ run }) => [run, make(run)])) as Record<R, HTMLElement>;
    const bars = each(run => html('span', { class: `nbi-bar nbi-of-${run}` }));
    const numbers = each(run => html('td', { class: `nbi-number nbi-of-${run}` }));
    const extras = this.extras.map(extra => html('td', { class: extra.className }, ...extra.make(text)));
    const name = html('th', { scope: 'row', class: 'nbi-token', title: visible(text).slice(0, 300) });
    writeToken(name, text);
    const inOrder = (of: Record<R, HTMLElement>): HTMLElement[] => this.runs.map(({ run }) => of[run]);
    const track = html('td', { class: 'nbi-bars', 'aria-hidden': 'true' }, ...inOrder(bars));
    return { element: html('tr', {}, name, track, ...inOrder(numbers), ...extras), bars, numbers, extras };
  }

  private write(row: Row<R>, one: Chances<R>): void {
    row.element.classList.toggle('nbi-top', one.text === this.top);
    for (const { run } of this.runs) {
      row.bars[run].style.width = `${Math.min(100, (one[run] / this.scale) * 100)}%`;
      row.numbers[run].textContent = percent(one[run]);
    }
    row.extras.forEach((cell, index) => this.extras[index]?.write(cell, one));
  }
}
