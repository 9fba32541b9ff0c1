/** Runs that were kept: a tree by what they came from; each restored, compared, renamed, dropped. */

import { iconButton } from '../../lib/controls';
import { html } from '../../lib/elements';
import { Keyed } from '../../lib/keyed';
import type { Kept } from '../../lib/protocol';
import { percent, visible, writeToken } from '../../lib/tokens';
import { points } from './answer';
import { restore } from './edits';
import type { Hand } from './hand';
import type { Moment } from './moment';

/** The runs in the order in which a tree lists them, each with how deep it lies. */
export function asTree(kept: readonly Kept[]): { run: Kept; depth: number }[] {
  const ids = new Set(kept.map(run => run.id));
  const below = new Map<string, Kept[]>();
  for (const run of kept) {
    const parent = ids.has(run.parent) && run.parent !== run.id ? run.parent : '';
    below.set(parent, [...(below.get(parent) ?? []), run]);
  }
  const listed: { run: Kept; depth: number }[] = [];
  const seen = new Set<string>();
  const walk = (parent: string, depth: number): void => {
    for (const run of below.get(parent) ?? []) {
      if (!seen.has(run.id)) {
        seen.add(run.id);
        listed.push({ run, depth });
        walk(run.id, depth + 1);
      }
    }
  };
  walk('', 0);
  // a circle of parents has no root: nothing is lost for that
  kept.filter(run => !seen.has(run.id)).forEach(run => listed.push({ run, depth: 0 }));
  return listed;
}

/** The next tokens of two runs side by side, the likeliest first. */
export function compared(a: Kept, b: Kept): { text: string; base: [number, number]; changed: [number, number] }[] {
  const texts = new Set([...a.candidates, ...b.candidates].map(one => one.text));
  const of = (run: Kept, text: string, what: 'base' | 'changed'): number =>
    run.candidates.find(one => one.text === text)?.[what] ?? NaN;
  const pair = (text: string, what: 'base' | 'changed'): [number, number] => [of(a, text, what), of(b, text, what)];
  const highest = (pair: readonly number[]): number =>
    Math.max(...pair.map(value => (Number.isFinite(value) ? value : 0)));
  return [...texts]
    .map(text => ({ text, base: pair(text, 'base'), changed: pair(text, 'changed') }))
    .sort((one, other) => highest(other.changed) - highest(one.changed))
    .slice(0, 10);
}

interface RunView {
  element: HTMLElement;
  name: HTMLInputElement;
  said: HTMLElement;
  when: HTMLElement;
  compare: HTMLInputElement;
  buttons: HTMLButtonElement[];
}

export class History {
  readonly element = html('section', { class: 'nbi-history', role: 'group', 'aria-label': 'Kept runs' });

  private readonly name: HTMLInputElement;
  private readonly form: HTMLElement;
  private readonly empty = html('p', { class: 'nbi-empty-words' });
  private readonly runs: Keyed<{ run: Kept; depth: number }, RunView>;
  private readonly comparison = html('div', { class: 'nbi-comparison' });
  private chosen: string[] = [];
  private drawnChosen: string[] = [];
  private kept: readonly Kept[] = [];
  private moment: Moment | null = null;

  constructor(
    private readonly hand: Hand,
    private readonly signal: AbortSignal
  ) {
    this.name = html('input', {
      ...{ type: 'text', class: 'nbi-field', 'aria-label': 'Name of the run', placeholder: 'name (may stay empty)' },
      autocomplete: 'off'
    });
    const keep = iconButton('keep', 'Keep this run', signal, () => this.keep());
    this.name.addEventListener('keydown', event => event.key === 'Enter' && this.keep(), { signal });
    this.form = html('div', { class: 'nbi-keep-form' }, this.name, keep);
    this.runs = new Keyed(
      html('ul', { class: 'nbi-runs' }),
      ({ run }) => run.id,
      ({ run }) => this.run(run.id),
      (view, item) => this.write(view, item)
    );
    const title = html('h2', { class: 'nbi-heading' }, 'Kept runs');
    this.element.append(
      html('div', { class: 'nbi-heading-line' }, title, this.form),
      this.empty,
      this.runs.parent,
      this.comparison
    );
  }

  update(moment: Moment): void {
    // the stack moves with every step of the hand, the history does not
    if (this.moment?.kept === moment.kept && this.moment.still === moment.still && this.drawnChosen === this.chosen) {
      return;
    }
    this.moment = moment;
    this.form.hidden = moment.still;
    this.element.hidden = moment.still && moment.kept.length === 0;
    this.empty.hidden = moment.kept.length > 0;
    this.empty.textContent = 'Keep a run to come back to it, to branch from it, or to compare it with another one.';
    this.kept = moment.kept;
    this.chosen = this.drawnChosen = this.chosen.filter(id => moment.kept.some(run => run.id === id));
    this.runs.update(asTree(moment.kept));
    this.drawComparison();
  }

  private keep(): void {
    const name = this.name.value.trim();
    this.name.value = '';
    void this.hand.ask('keep', { name });
  }

  private run(id: string): RunView {
    const { signal, hand } = this;
    const bare = { bare: true };
    const name = html('input', { type: 'text', class: 'nbi-run-title', 'aria-label': 'Name', autocomplete: 'off' });
    name.addEventListener(
      'change',
      () => {
        name.blur();
        void hand.ask('rename', { id, name: name.value.trim() });
      },
      { signal }
    );
    const said = html('span', { class: 'nbi-run-said' });
    const when = html('span', { class: 'nbi-run-when' });
    const compare = html('input', { type: 'checkbox', class: 'nbi-check' });
    compare.addEventListener('change', () => this.choose(id, compare.checked), { signal });
    const back = iconButton('restore', 'Go back to this run', signal, () => this.restore(id), bare);
    const drop = iconButton('remove', 'Drop this run', signal, () => void hand.ask('drop', { id }), bare);
    const element = html(
      'li',
      { class: 'nbi-run' },
      html('label', { class: 'nbi-run-compare', title: 'compare' }, compare, html('span', {}, 'compare')),
      html('span', { class: 'nbi-run-words' }, name, said),
      when,
      html('span', { class: 'nbi-card-tools' }, back, drop)
    );
    return { element, name, said, when, compare, buttons: [back, drop] };
  }

  private write(view: RunView, { run, depth }: { run: Kept; depth: number }): void {
    view.element.style.setProperty('--depth', String(Math.min(6, depth)));
    view.element.classList.toggle('nbi-branch', depth > 0);
    view.element.dataset.run = run.id;
    const name = visible(run.name);
    if (!view.name.matches(':focus') && view.name.value !== name) {
      view.name.value = name;
    }
    view.name.readOnly = this.moment?.still === true;
    const words = [run.summary, run.said]
      .filter(part => part !== '')
      .map(visible)
      .join(' · ');
    if (view.said.textContent !== words) {
      view.said.textContent = words;
      view.said.title = words.slice(0, 600);
    }
    view.when.textContent = whenInWords(run.when);
    view.compare.checked = this.chosen.includes(run.id);
    view.compare.setAttribute('aria-label', `compare ${name}`);
    view.buttons.forEach(button => (button.hidden = this.moment?.still === true));
  }

  /** Two are compared: a third takes the place of the one that was chosen first. */
  private choose(id: string, on: boolean): void {
    this.chosen = on ? [...this.chosen, id].slice(-2) : this.chosen.filter(one => one !== id);
    if (this.moment !== null) {
      this.update(this.moment);
    }
  }

  private restore(id: string): void {
    const run = this.kept.find(one => one.id === id);
    if (run !== undefined) {
      this.hand.edit(restore(run.setting));
    }
  }

  private drawComparison(): void {
    const [a, b] = this.chosen.map(id => this.kept.find(run => run.id === id));
    if (a === undefined || b === undefined) {
      this.comparison.replaceChildren();
      return;
    }
    const head = (text: string, columns = 1): HTMLElement => html('th', { scope: 'col', colspan: columns }, text);
    const names = html('tr', {}, html('td'), head(visible(a.name), 2), head(visible(b.name), 2), html('td'));
    const what = ['base', 'changed', 'base', 'changed', 'difference'];
    const columns = html('tr', {}, head('next token'), ...what.map(text => head(text)));
    const rows = compared(a, b).map(({ text, base, changed }) => {
      const name = html('th', { scope: 'row', class: 'nbi-token', title: visible(text).slice(0, 300) });
      writeToken(name, text.slice(0, 80));
      const numbers = [base[0], changed[0], base[1], changed[1]].map((value, index) =>
        html('td', { class: index % 2 === 0 ? 'nbi-of-base' : 'nbi-of-changed' }, percent(value))
      );
      const difference = changed[1] - changed[0];
      const last = html('td', { class: 'nbi-change' }, Number.isFinite(difference) ? points(difference) : '–');
      return html('tr', {}, name, ...numbers, last);
    });
    const caption = html('caption', { class: 'nbi-hidden' }, `${visible(a.name)} beside ${visible(b.name)}`);
    const table = html(
      'table',
      { class: 'nbi-compared' },
      caption,
      html('thead', {}, names, columns),
      html('tbody', {}, ...rows)
    );
    const prompts = [a, b].map(run => {
      const { prompt, chat } = run.setting;
      return visible(chat.length > 0 ? chat.map(turn => turn.content).join(' ⏎ ') : prompt);
    });
    const same = prompts[0] === prompts[1];
    const note = same
      ? []
      : [html('p', { class: 'nbi-old' }, `Two prompts: ${prompts.map(p => `“${p.slice(0, 80)}”`).join(' and ')}.`)];
    this.comparison.replaceChildren(...note, table);
  }
}

/** "14:03" of today, else with the day. */
export function whenInWords(when: string, now = new Date()): string {
  const date = new Date(when);
  if (Number.isNaN(date.getTime())) {
    return visible(when);
  }
  const time = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return date.toDateString() === now.toDateString() ? time : `${date.toLocaleDateString()} ${time}`;
}
