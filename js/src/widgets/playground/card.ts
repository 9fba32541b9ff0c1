/** One intervention of the stack: where it acts, its sliders, what it moved. */

import { iconButton, NumberControl, relabel, toggle } from '../../lib/controls';
import { html } from '../../lib/elements';
import { Keyed } from '../../lib/keyed';
import type { Act, Parameter, Recipe } from '../../lib/protocol';
import { visible } from '../../lib/tokens';
import { addAct, changeAct, changeText, changeValue, freshId, moveAct, removeAct, takeInHand } from './edits';
import type { Hand } from './hand';
import { curveOf, siteOf, type Moment } from './moment';
import { readPlace, writePlace } from './places';

interface SliderView {
  element: HTMLElement;
  control: NumberControl;
  drawn: Parameter | null;
}

interface TextView {
  element: HTMLElement;
  field: HTMLTextAreaElement;
}

export class Card {
  readonly element = html('li', { class: 'nbi-card' });
  readonly grip = html('span', { class: 'nbi-grip', 'aria-hidden': 'true', title: 'drag to another place' }, '⠿');

  private readonly on: HTMLInputElement;
  private readonly name = html('button', { type: 'button', class: 'nbi-card-name' });
  private readonly site = html('code', { class: 'nbi-card-site' });
  private readonly up: HTMLButtonElement;
  private readonly down: HTMLButtonElement;
  private readonly tools = html('span', { class: 'nbi-card-tools' });
  private readonly where = html('div', { class: 'nbi-where' });
  private readonly component = html('select', { class: 'nbi-select', 'aria-label': 'component' });
  private readonly layer = html('select', { class: 'nbi-select', 'aria-label': 'layer' });
  private readonly head = html('select', { class: 'nbi-select', 'aria-label': 'head' });
  private readonly tokens: HTMLInputElement;
  private readonly steps: HTMLInputElement;
  private readonly usePicked: HTMLButtonElement;
  private readonly sliders: Keyed<Parameter, SliderView>;
  private readonly texts: Keyed<string, TextView>;
  private readonly statement = html('p', { class: 'nbi-card-statement' });
  private readonly moved = html('p', { class: 'nbi-card-moved' });
  private readonly problem = html('p', { class: 'nbi-card-problem', role: 'alert' });
  private moment: Moment | null = null;

  constructor(
    readonly id: string,
    private readonly hand: Hand,
    private readonly signal: AbortSignal
  ) {
    const bare = { bare: true };
    this.on = toggle('on', signal, on => hand.edit(changeAct(id, { on })));
    this.up = iconButton('up', 'Move up', signal, () => this.move(-1), bare);
    this.down = iconButton('down', 'Move down', signal, () => this.move(1), bare);
    const copy = iconButton('copy', 'Duplicate', signal, () => this.duplicate(), bare);
    const remove = iconButton('remove', 'Remove', signal, () => this.remove(), bare);
    this.tools.append(this.up, this.down, copy, remove);
    this.name.addEventListener('click', () => this.take(), { signal });
    this.tokens = this.placeField('tokens', 'tokens', tokens => ({ tokens }));
    this.steps = this.placeField('steps', 'steps of the generation', steps => ({ steps }));
    this.usePicked = iconButton('target', 'Use the picked tokens', signal, () => this.takePicked(), bare);
    this.sliders = new Keyed(
      html('div', { class: 'nbi-sliders' }),
      parameter => parameter.name,
      parameter => this.slider(parameter),
      (view, parameter) => this.writeSlider(view, parameter)
    );
    this.texts = new Keyed(
      html('div', { class: 'nbi-texts' }),
      name => name,
      name => this.text(name),
      (view, name) => writeField(view.field, this.act?.texts[name] ?? '')
    );
    this.listenToSelects();
    this.element.addEventListener('keydown', event => this.onKey(event), { signal });
    const labelled = (name: string, ...children: Node[]): HTMLElement =>
      html('label', { class: 'nbi-labelled' }, html('span', {}, name), ...children);
    const site = html('span', { class: 'nbi-site-selects' }, this.component, this.layer, this.head);
    const place = html('span', { class: 'nbi-place' }, labelled('tokens', this.tokens), this.usePicked);
    this.where.append(site, place, labelled('steps', this.steps));
    const words = html('div', { class: 'nbi-card-words' }, this.name, this.site);
    this.element.append(
      html('div', { class: 'nbi-card-head' }, this.grip, this.on, words, this.tools),
      this.statement,
      this.where,
      this.texts.parent,
      this.sliders.parent,
      this.moved,
      this.problem
    );
  }

  update(act: Act, index: number, moment: Moment): void {
    const before = this.moment;
    this.moment = moment;
    const recipe = moment.recipes.get(act.recipe);
    const inHand = moment.setting.hand === act.id;
    this.element.classList.toggle('nbi-in-hand', inHand);
    this.element.classList.toggle('nbi-off', !act.on);
    this.element.dataset.act = act.id;
    this.on.checked = act.on;
    this.on.disabled = moment.still;
    const title = recipe?.name ?? act.recipe;
    const number = `${index + 1} of ${moment.setting.acts.length}`;
    if (this.name.dataset.title !== title) {
      this.name.dataset.title = title;
      const kind = recipe === undefined || title.startsWith(recipe.kind) ? '' : ` ${visible(recipe.kind)}`;
      this.name.replaceChildren(
        html('span', { class: 'nbi-card-title' }, visible(title)),
        html('span', { class: 'nbi-kind' }, kind)
      );
      this.name.title = visible(title);
    }
    this.element.setAttribute('aria-label', `intervention ${number}: ${visible(title)}`);
    this.on.setAttribute('aria-label', `${visible(title)}: on`);
    this.name.setAttribute('aria-expanded', String(inHand));
    const place = `${siteOf(act)} on ${act.tokens.trim() === '' ? 'all' : act.tokens}`;
    if (this.site.textContent !== place) {
      this.site.textContent = place;
      this.site.title = place;
    }
    this.tools.hidden = moment.still;
    this.up.disabled = index === 0;
    this.down.disabled = index === moment.setting.acts.length - 1;
    this.where.hidden = !inHand || moment.still;
    const statement = recipe?.statement ?? '';
    this.statement.hidden = !inHand || statement === '';
    this.statement.textContent = statement === '' ? '' : visible(statement).slice(0, 400);
    if (before?.spec !== moment.spec || before.recipes.get(act.recipe) !== recipe || !sameSite(before, act)) {
      this.writeSelects(act, recipe, moment);
    }
    writeField(this.tokens, act.tokens);
    writeField(this.steps, act.steps);
    this.usePicked.disabled = moment.picks.tokens.length === 0;
    relabel(
      this.usePicked,
      moment.picks.tokens.length === 0
        ? 'Pick tokens above to use them here'
        : `Use the picked tokens: ${writePlace(moment.picks.tokens)}`
    );
    this.sliders.update(recipe?.parameters ?? []);
    this.texts.update(recipe?.texts ?? []);
    this.texts.parent.hidden = (recipe?.texts ?? []).length === 0;
    this.writeMoved(act, moment);
  }

  /** Put the keyboard where the card is taken up. */
  focus(): void {
    (this.sliders.all()[0]?.control.slider ?? this.name).focus();
  }

  private get act(): Act | undefined {
    return this.hand.setting.acts.find(act => act.id === this.id);
  }

  private get recipe(): Recipe | undefined {
    return this.moment?.recipes.get(this.act?.recipe ?? '');
  }

  /** Take the card in hand. That is no step of its own for undo. */
  private take(parameter?: string): void {
    const { hand, parameter: current } = this.hand.setting;
    const names = (this.recipe?.parameters ?? []).map(one => one.name);
    const wanted = parameter ?? (hand === this.id && names.includes(current) ? current : (names[0] ?? ''));
    this.hand.edit(takeInHand(this.id, wanted), false);
  }

  private move(by: number): void {
    const at = this.hand.setting.acts.findIndex(act => act.id === this.id);
    this.hand.edit(moveAct(this.id, at + by));
  }

  private duplicate(): void {
    const { act } = this;
    if (act !== undefined) {
      this.hand.edit(addAct({ ...act, id: freshId() }, this.recipe?.parameters[0]?.name ?? '', act.id));
    }
  }

  private remove(): void {
    const after = this.element.nextElementSibling ?? this.element.previousElementSibling;
    const list = this.element.parentElement;
    this.hand.edit(removeAct(this.id, this.moment?.recipes ?? new Map<string, Recipe>()));
    // the keyboard goes on at the neighbour
    (after ?? list?.closest('.nbi-stack'))?.querySelector<HTMLElement>('.nbi-card-name, button')?.focus();
  }

  private takePicked(): void {
    const tokens = writePlace(this.moment?.picks.tokens ?? []);
    if (tokens !== '') {
      this.hand.edit(changeAct(this.id, { tokens }));
    }
  }

  private onKey(event: KeyboardEvent): void {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (by !== undefined && event.altKey && !event.ctrlKey && !event.metaKey && this.moment?.still === false) {
      event.preventDefault();
      event.stopPropagation();
      this.move(by);
    }
  }

  private placeField(name: string, label: string, change: (text: string) => Partial<Act>): HTMLInputElement {
    const options = { type: 'text', class: `nbi-field nbi-${name}-field`, 'aria-label': label, spellcheck: 'false' };
    const field = html('input', { ...options, autocomplete: 'off' });
    field.title =
      name === 'tokens'
        ? 'all, last, 3, 2:5, 7, " France" or /F\\w+/'
        : 'at which generated tokens it acts: all, or places such as 0, 2:5';
    commitOnLeave(field, this.signal, text => this.hand.edit(changeAct(this.id, change(text))));
    return field;
  }

  private listenToSelects(): void {
    const { signal, hand, id } = this;
    const options = { signal };
    this.component.addEventListener(
      'change',
      () => {
        const component = this.component.value;
        const facts = this.moment?.spec.components.find(one => one.name === component);
        const { recipe, act } = this;
        const found = recipe === undefined || recipe.found < 0 ? (recipe?.layers.at(-1) ?? 0) : recipe.found;
        const layer = facts?.layered === false ? -1 : act !== undefined && act.layer >= 0 ? act.layer : found;
        const head = (facts?.heads ?? 0) > (act?.head ?? -1) ? (act?.head ?? -1) : -1;
        hand.edit(changeAct(id, { component, layer, head }));
      },
      options
    );
    this.layer.addEventListener('change', () => hand.edit(changeAct(id, { layer: Number(this.layer.value) })), options);
    this.head.addEventListener('change', () => hand.edit(changeAct(id, { head: Number(this.head.value) })), options);
  }

  private writeSelects(act: Act, recipe: Recipe | undefined, moment: Moment): void {
    const facts = moment.spec.components.find(one => one.name === act.component);
    const known = moment.spec.components.map(one => one.name);
    const components = recipe === undefined || recipe.components.length === 0 ? known : recipe.components;
    fillSelect(
      this.component,
      withValue(components, act.component).map(name => [
        name,
        name,
        moment.spec.components.find(one => one.name === name)?.what ?? ''
      ]),
      act.component
    );
    const layers = recipe === undefined || recipe.layers.length === 0 ? range(moment.spec.n_layers) : recipe.layers;
    const at = (layer: number): string => (layer === recipe?.found ? `layer ${layer} ◆` : `layer ${layer}`);
    fillSelect(
      this.layer,
      withValue(layers, act.layer).map(layer => [
        String(layer),
        at(layer),
        layer === recipe?.found ? 'found here' : ''
      ]),
      String(act.layer)
    );
    this.layer.hidden = facts?.layered === false || act.layer < 0;
    const heads = facts?.heads ?? 0;
    fillSelect(
      this.head,
      [['-1', 'all heads', ''], ...range(heads).map((n): [string, string, string] => [`${n}`, `head ${n}`, ''])],
      String(act.head)
    );
    this.head.hidden = heads === 0;
  }

  private slider(parameter: Parameter): SliderView {
    const control = new NumberControl(
      parameter,
      (value, start) => this.hand.edit(changeValue(this.id, parameter.name, value), start),
      this.signal
    );
    const mark = (): void => this.take(parameter.name);
    control.element.addEventListener('focusin', mark, { signal: this.signal });
    return { element: control.element, control, drawn: parameter };
  }

  private writeSlider(view: SliderView, parameter: Parameter): void {
    if (view.drawn !== parameter) {
      view.drawn = parameter;
      view.control.describe(parameter);
    }
    const { moment } = this;
    view.control.value = this.act?.values[parameter.name] ?? parameter.start;
    const inHand = moment?.setting.hand === this.id && moment.setting.parameter === parameter.name;
    view.element.classList.toggle('nbi-in-hand', inHand);
    // without Python a slider moves where its curve was stored
    view.control.disabled = moment?.still === true && curveOf(moment.curves, this.id, parameter.name) === null;
  }

  private text(name: string): TextView {
    // "prompts" are several, one a line: Enter begins the next one
    const several = name.endsWith('prompts');
    const field = html('textarea', {
      ...{ class: 'nbi-writing nbi-small', rows: several ? 3 : 1, 'aria-label': name, spellcheck: 'false' },
      placeholder: several ? `${name}, one a line` : name
    });
    commitOnLeave(field, this.signal, text => this.hand.edit(changeText(this.id, name, text)), !several, 400);
    return { element: html('label', { class: 'nbi-labelled' }, html('span', {}, name), field), field };
  }

  private writeMoved(act: Act, moment: Moment): void {
    const moved = moment.answer?.moved.find(one => one.act === act.id);
    const share = moved === undefined || !act.on || moved.problem !== '' ? '' : inShare(moved.moved);
    const words = share === '' ? '' : [share, moved?.control ?? ''].filter(part => part !== '').join(' · ');
    if (this.moved.textContent !== words) {
      this.moved.textContent = words;
    }
    const nowhere = act.on && readPlace(act.tokens, moment.answer?.tokens ?? [])?.length === 0;
    const missing = nowhere && moment.answer !== null ? 'No token of this prompt is meant.' : '';
    const problem = moved === undefined || moved.problem === '' ? missing : visible(moved.problem).slice(0, 1200);
    if (this.problem.textContent !== problem) {
      this.problem.textContent = problem;
    }
    this.element.classList.toggle('nbi-troubled', problem !== '');
  }
}

/** "moved by 12 % of its length". */
export function inShare(moved: number): string {
  const percents = moved * 100;
  const digits = percents >= 9.95 || percents === 0 ? 0 : percents >= 0.1 ? 1 : 2;
  return Number.isFinite(percents) ? `moved by ${percents.toFixed(digits)} % of its length` : '';
}

function sameSite(before: Moment, act: Act): boolean {
  const was = before.setting.acts.find(one => one.id === act.id);
  return was?.component === act.component && was.layer === act.layer && was.head === act.head;
}

function range(n: number): number[] {
  return Array.from({ length: n }, (_, index) => index);
}

function withValue<T>(all: readonly T[], value: T): T[] {
  return all.includes(value) ? [...all] : [value, ...all];
}

function fillSelect(
  select: HTMLSelectElement,
  options: readonly (readonly [value: string, text: string, title: string])[],
  value: string
): void {
  const same =
    select.options.length === options.length &&
    options.every(
      ([name, text], index) => select.options[index]?.value === name && select.options[index].text === text
    );
  if (!same) {
    select.replaceChildren(...options.map(([name, text, title]) => html('option', { value: name, title }, text)));
  }
  select.value = value;
}

/** Show a text in a field, unless somebody is writing in it. */
function writeField(field: HTMLInputElement | HTMLTextAreaElement, text: string): void {
  if (field.dataset.touched !== 'true' && field.value !== text) {
    field.value = text;
  }
}

/** Tell of what was written at Enter, when the field is left, or after a pause; Escape takes it back. */
function commitOnLeave(
  field: HTMLElement & { value: string },
  signal: AbortSignal,
  changed: (text: string) => void,
  atEnter = true,
  pause = 0
): void {
  let before = '';
  let timer: ReturnType<typeof setTimeout> | undefined;
  const commit = (): void => {
    clearTimeout(timer);
    if (field.dataset.touched === 'true') {
      delete field.dataset.touched;
      before = field.value;
      changed(field.value);
    }
  };
  const listen = { signal };
  signal.addEventListener('abort', () => clearTimeout(timer));
  field.addEventListener('focus', () => (before = field.value), listen);
  field.addEventListener(
    'input',
    () => {
      field.dataset.touched = 'true';
      clearTimeout(timer);
      if (pause > 0) {
        timer = setTimeout(commit, pause);
      }
    },
    listen
  );
  field.addEventListener('blur', commit, listen);
  field.addEventListener(
    'keydown',
    event => {
      if (event.key === 'Enter' && atEnter && !event.shiftKey) {
        event.preventDefault();
        commit();
      } else if (event.key === 'Escape') {
        delete field.dataset.touched;
        field.value = before;
      }
    },
    listen
  );
}
