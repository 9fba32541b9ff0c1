/** What the model goes on to say in the three runs, token by token, and what it might have said. */

import { iconButton, NumberControl, readNumber } from '../../lib/controls';
import { html } from '../../lib/elements';
import type { Generated, Said, Setting } from '../../lib/protocol';
import { percent, pieces, visible, writeToken } from '../../lib/tokens';
import type { Run } from './answer';
import { generation } from './edits';
import type { Hand } from './hand';
import type { Moment } from './moment';

const NAMES: readonly [run: Run, name: string][] = [
  ['base', 'base'],
  ['changed', 'changed'],
  ['control', 'random direction']
];

/** The first step at which two texts say something else; null where they never do. */
export function partingStep(a: readonly Said[], b: readonly Said[]): number | null {
  const n = Math.min(a.length, b.length);
  for (let step = 0; step < n; step += 1) {
    if (a[step]?.text !== b[step]?.text) {
      return step;
    }
  }
  return null;
}

/** A small number that is typed: how many tokens, how warm. */
class SmallNumber {
  readonly element: HTMLElement;
  readonly field: HTMLInputElement;

  constructor(
    name: string,
    title: string,
    private readonly low: number,
    private readonly high: number,
    private readonly step: number,
    changed: (value: number) => void,
    signal: AbortSignal
  ) {
    this.field = html('input', { type: 'number', class: 'nbi-field', min: low, max: high, step, title });
    this.field.addEventListener(
      'change',
      () => {
        const value = readNumber(this.field.value);
        if (value !== null) {
          changed(this.held(value));
        }
        this.field.value = String(value === null ? this.shown : this.held(value));
      },
      { signal }
    );
    this.element = html('label', { class: 'nbi-labelled' }, html('span', {}, name), this.field);
  }

  private shown = 0;

  show(value: number): void {
    this.shown = value;
    if (!this.field.matches(':focus') && this.field.value !== String(value)) {
      this.field.value = String(value);
    }
  }

  private held(value: number): number {
    const bounded = Math.min(this.high, Math.max(this.low, value));
    return this.step >= 1 ? Math.round(bounded) : bounded;
  }
}

/** One run's text; it grows at its end and is drawn anew only when it starts again. */
class Column {
  readonly element: HTMLElement;
  private readonly text: HTMLElement;
  private readonly parting = html('p', { class: 'nbi-parting' });
  private readonly alternatives = html('ol', { class: 'nbi-alternatives' });
  private said: readonly Said[] = [];
  private drawn = '';

  constructor(
    readonly run: Run,
    name: string,
    picked: (step: number) => void,
    signal: AbortSignal
  ) {
    const heading = html('h3', { class: `nbi-run-name nbi-of-${run}` }, html('span', { class: 'nbi-swatch' }), name);
    this.element = html('article', { class: `nbi-column nbi-of-${run}`, 'aria-label': name });
    // a long text scrolls, also by key
    this.text = html('div', { class: 'nbi-said', tabindex: 0, role: 'group', 'aria-label': `text, ${name}` });
    this.element.append(heading, this.text, this.parting, this.alternatives);
    this.text.addEventListener(
      'click',
      event => {
        const token = (event.target as Element).closest('.nbi-said-token');
        if (token !== null) {
          picked([...this.text.children].indexOf(token));
        }
      },
      { signal }
    );
  }

  update(said: readonly Said[], step: number, parting: number | null, running: boolean): void {
    const kept = this.said.length <= said.length && this.said.every((one, index) => one.text === said[index]?.text);
    if (!kept) {
      this.text.replaceChildren();
    }
    for (const one of said.slice(this.text.children.length)) {
      this.text.append(sayToken(one));
    }
    this.said = said;
    [...this.text.children].forEach((token, index) => {
      token.classList.toggle('nbi-at', index === step);
      token.classList.toggle('nbi-parted', parting !== null && index >= parting);
      token.classList.toggle('nbi-parts', index === parting);
    });
    this.text.classList.toggle('nbi-writing-on', running);
    const words =
      this.run === 'base' || said.length === 0
        ? ''
        : parting === null
          ? 'the same as base so far'
          : `says something else from token ${parting + 1} on`;
    if (this.parting.textContent !== words) {
      this.parting.textContent = words;
    }
    this.showAlternatives(said[step]);
  }

  private showAlternatives(said: Said | undefined): void {
    const key = JSON.stringify(said ?? null);
    if (key === this.drawn) {
      return;
    }
    this.drawn = key;
    const listed = said === undefined ? [] : [...said.top];
    // what was said may be none of the likeliest
    if (said !== undefined && !listed.some(one => one.text === said.text)) {
      listed.push({ text: said.text, probability: said.probability });
    }
    this.alternatives.replaceChildren(
      ...listed.slice(0, 6).map(one => {
        const token = html('span', { class: 'nbi-token', title: visible(one.text).slice(0, 300) });
        writeToken(token, one.text.slice(0, 80));
        const bar = html('span', { class: `nbi-bar nbi-of-${this.run}` });
        bar.style.width = `${Math.min(100, 100 * one.probability)}%`;
        const track = html('span', { class: 'nbi-track', 'aria-hidden': 'true' }, bar);
        const number = html('span', { class: 'nbi-number' }, percent(one.probability));
        const line = html('li', { class: 'nbi-alternative' }, token, track, number);
        line.classList.toggle('nbi-chosen', one.text === said?.text);
        return line;
      })
    );
  }
}

function sayToken(one: Said): HTMLElement {
  const token = html('span', { class: 'nbi-said-token', title: percent(one.probability) });
  // in running text a space is a space and a new line is one
  for (const piece of pieces(one.text)) {
    const text = piece.faint ? piece.text.replace(/·/g, ' ').replace(/⏎/g, '⏎\n') : piece.text;
    token.append(piece.faint && text.trim() !== '' ? html('span', { class: 'nbi-faint' }, text) : text);
  }
  return token;
}

export class Speech {
  readonly element = html('section', { class: 'nbi-speech', role: 'group', 'aria-label': 'Continuation' });

  private readonly start: HTMLButtonElement;
  private readonly stop: HTMLButtonElement;
  private readonly controls = html('div', { class: 'nbi-speech-controls' });
  private readonly tokens: SmallNumber;
  private readonly temperature: SmallNumber;
  private readonly seed: SmallNumber;
  private readonly columns: readonly Column[];
  private readonly grid = html('div', { class: 'nbi-columns' });
  private readonly scrubber: NumberControl;
  private readonly old = html('p', { class: 'nbi-old' });
  private readonly empty = html('p', { class: 'nbi-empty-words' });
  private generated: Generated | null = null;
  /** The step that was chosen; null while it follows the newest. */
  private step: number | null = null;
  private last: Moment | null = null;
  /** The world in which the newest generation was said. */
  private saidIn = '';
  private drawn: unknown[] = [];

  constructor(hand: Hand, signal: AbortSignal) {
    this.start = iconButton('play', 'Generate', signal, () => {
      this.step = null;
      void hand.ask('generate');
    });
    this.stop = iconButton('stop', 'Stop', signal, () => void hand.ask('stop'));
    this.start.classList.add('nbi-primary');
    const number = (...[name, title, low, high, step]: [string, string, number, number, number]): SmallNumber =>
      new SmallNumber(
        name,
        title,
        low,
        high,
        step,
        value => hand.edit(generation({ [keyOf[name] ?? '']: value })),
        signal
      );
    const keyOf: Record<string, 'max_new_tokens' | 'temperature' | 'seed'> = {
      ...{ tokens: 'max_new_tokens', temperature: 'temperature', seed: 'seed' }
    };
    this.tokens = number('tokens', 'how many tokens are generated', 1, 2000, 1);
    this.temperature = number('temperature', '0 takes the likeliest token each time', 0, 100, 0.1);
    this.seed = number('seed', 'of the sampling and of the random direction', 0, 2 ** 53, 1);
    this.controls.append(this.tokens.element, this.temperature.element, this.seed.element, this.stop, this.start);
    const pick = (step: number): void => this.goTo(step);
    this.columns = NAMES.map(([run, name]) => new Column(run, name, pick, signal));
    this.grid.append(...this.columns.map(column => column.element));
    const range = { name: 'token', low: 1, high: 1, step: 1, unit: '', home: 1 };
    this.scrubber = new NumberControl(range, value => this.goTo(value - 1), signal);
    this.scrubber.element.classList.add('nbi-scrubber');
    const title = html('h2', { class: 'nbi-heading' }, 'Continuation');
    const head = html('div', { class: 'nbi-heading-line' }, title, this.controls);
    this.element.append(head, this.empty, this.scrubber.element, this.grid, this.old);
  }

  update(moment: Moment): void {
    const { generated, setting, still } = moment;
    const running = generated?.running === true && !still;
    if (generated !== null && this.generated !== null && generated.moment !== this.generated.moment) {
      this.step = null;
    }
    this.generated = generated;
    this.controls.hidden = still;
    this.element.hidden = still && generated === null;
    const focused = this.start.matches(':focus') || this.stop.matches(':focus');
    this.start.hidden = running;
    this.stop.hidden = !running;
    if (focused) {
      (running ? this.stop : this.start).focus({ preventScroll: true });
    }
    this.tokens.show(setting.max_new_tokens);
    this.temperature.show(setting.temperature);
    this.seed.show(setting.seed);
    this.draw(moment, running);
  }

  private goTo(step: number): void {
    this.step = step;
    if (this.last !== null) {
      this.draw(this.last, this.generated?.running === true);
    }
  }

  private draw(moment: Moment, running: boolean): void {
    this.last = moment;
    const { generated } = this;
    const length = generated === null ? 0 : Math.max(...NAMES.map(([run]) => generated[run].length));
    const shown = generated !== null && (length > 0 || running);
    this.grid.hidden = !shown;
    this.scrubber.element.hidden = length === 0;
    this.empty.hidden = shown;
    this.empty.textContent = 'What the model goes on to say, with and without the interventions, side by side.';
    const step = Math.min(this.step ?? length - 1, length - 1);
    if (length > 0) {
      this.scrubber.describe({ name: 'token', low: 1, high: length, step: 1, unit: `of ${length}`, home: 1 });
      this.scrubber.value = step + 1;
    }
    const world = worldOf(moment.setting);
    if (generated?.moment === moment.setting.moment) {
      this.saidIn = world;
    }
    const isOld = shown && !running && generated.moment !== moment.setting.moment && this.saidIn !== world;
    this.old.textContent =
      isOld && !moment.still ? 'Said under an earlier setting: generate again to see this one.' : '';
    this.grid.classList.toggle('nbi-outdated', isOld && !moment.still);
    const inputs = [generated, step, running];
    if (inputs.every((input, index) => input === this.drawn[index])) {
      return;
    }
    this.drawn = inputs;
    for (const column of this.columns) {
      const said = generated?.[column.run] ?? [];
      const parting = column.run === 'base' ? null : partingStep(generated?.base ?? [], said);
      column.update(said, step, parting, running);
    }
  }
}

/** All that a generation depends on: whose curve is drawn, and what is followed, is no part of it. */
function worldOf({ prompt, chat, acts, seed, max_new_tokens, temperature }: Setting): string {
  return JSON.stringify([prompt, chat, acts, seed, max_new_tokens, temperature]);
}
