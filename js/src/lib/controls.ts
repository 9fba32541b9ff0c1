/** Controls that the widgets share: buttons, a number with its slider, a menu, a dialog with a text. */

import './controls.css';
import { freshId, html } from './elements';
import { icon, type IconName } from './icons';

/** A button with an icon, and its label as text or, without room for it, as a tooltip. */
export function iconButton(
  name: IconName,
  label: string,
  signal: AbortSignal,
  pressed: (event: MouseEvent) => void,
  { bare = false } = {}
): HTMLButtonElement {
  const button = html('button', { type: 'button', class: `nbi-button${bare ? ' nbi-bare' : ''}` }, icon(name));
  if (bare) {
    relabel(button, label);
  } else {
    button.append(html('span', {}, label));
  }
  button.addEventListener('click', pressed, { signal });
  return button;
}

/** Change what a button without text is called. */
export function relabel(button: HTMLElement, label: string): void {
  if (button.getAttribute('aria-label') !== label) {
    button.setAttribute('aria-label', label);
    button.title = label;
  }
}

/** A switch: a checkbox that says on and off. */
export function toggle(label: string, signal: AbortSignal, changed: (on: boolean) => void): HTMLInputElement {
  const input = html('input', { type: 'checkbox', role: 'switch', class: 'nbi-switch', 'aria-label': label });
  input.addEventListener('change', () => changed(input.checked), { signal });
  return input;
}

export interface NumberRange {
  name: string;
  low: number;
  high: number;
  step: number;
  unit: string;
  /** Where it changes nothing: the slider is filled from here, and a double click goes here. */
  home: number;
}

/** A number as its field shows it: no more digits than the step has. */
export function written(value: number, step: number): string {
  const digits = step > 0 ? Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))) : 3;
  const fixed = value.toFixed(digits);
  return Number(fixed) === 0 ? (0).toFixed(digits) : fixed.replace('-', '−');
}

/** What somebody typed as a number; null where it is none. A comma and a true minus sign are understood. */
export function readNumber(text: string): number | null {
  const bare = text.trim().replace('−', '-').replace(',', '.');
  const value = Number(bare);
  return bare === '' || !Number.isFinite(value) ? null : value;
}

/** The nearest value that the slider can have. */
export function onStep(value: number, { low, high, step }: Pick<NumberRange, 'low' | 'high' | 'step'>): number {
  const stepped = step > 0 ? low + Math.round((value - low) / step) * step : value;
  return Math.min(high, Math.max(low, Number(stepped.toPrecision(12))));
}

/**
 * A number as a slider with a field beside it. `change` is told with each new value whether a new gesture of the hand
 * begins with it: a press of the pointer, a key, a turn of the wheel, a number that was typed.
 */
export class NumberControl {
  readonly element = html('div', { class: 'nbi-number-control' });
  readonly slider = html('input', { type: 'range', class: 'nbi-slider' });

  private readonly label = html('span', { class: 'nbi-number-name' });
  private readonly field = html('input', {
    type: 'text',
    inputmode: 'decimal',
    autocomplete: 'off',
    class: 'nbi-field'
  });
  private readonly unit = html('span', { class: 'nbi-unit', 'aria-hidden': 'true' });
  private current = NaN;
  private fresh = true;
  private wheeled = 0;

  constructor(
    private range: NumberRange,
    private readonly change: (value: number, gestureStart: boolean) => void,
    signal: AbortSignal
  ) {
    this.element.append(this.label, this.slider, this.field, this.unit);
    this.describe(range);
    this.listenToSlider(signal);
    this.listenToField(signal);
  }

  get value(): number {
    return this.current;
  }

  /** Show another value; nobody is told. A number that is being typed is left alone. */
  set value(value: number) {
    if (value === this.current) {
      return;
    }
    this.current = value;
    this.slider.value = String(value);
    if (!this.isTyped()) {
      this.write();
    }
    this.slider.setAttribute('aria-valuetext', this.inWords(value));
    this.fill();
  }

  set disabled(disabled: boolean) {
    this.slider.disabled = this.field.disabled = disabled;
  }

  /** Change the range, its name or unit; the value stays. */
  describe(range: NumberRange): void {
    this.range = range;
    const { name, low, high, step, unit } = range;
    this.label.textContent = name;
    this.label.title = name;
    this.unit.textContent = unit;
    this.unit.title = unit;
    this.slider.min = String(low);
    this.slider.max = String(high);
    this.slider.step = step > 0 ? String(step) : 'any';
    this.slider.title = `double click: ${this.inWords(range.home)}, where it changes least`;
    this.slider.setAttribute('aria-label', name);
    this.field.setAttribute('aria-label', unit === '' ? name : `${name} in ${unit}`);
    if (Number.isFinite(this.current)) {
      this.slider.value = String(this.current);
      this.write();
      this.fill();
    }
  }

  private inWords(value: number): string {
    const { step, unit } = this.range;
    return `${written(value, step)}${unit === '' || unit === '°' ? unit : ` ${unit}`}`;
  }

  private isTyped(): boolean {
    return this.field.matches(':focus') && this.field.dataset.touched === 'true';
  }

  private write(): void {
    this.field.value = written(this.current, this.range.step);
    delete this.field.dataset.touched;
  }

  private fill(): void {
    const { low, high, home } = this.range;
    const share = (value: number): number => (high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0);
    const [a, b] = [share(home), share(this.current)];
    this.slider.style.setProperty('--from', String(Math.min(a, b)));
    this.slider.style.setProperty('--to', String(Math.max(a, b)));
    this.slider.style.setProperty('--home', String(a));
  }

  private move(value: number, start: boolean): void {
    const next = onStep(value, this.range);
    if (next !== this.current) {
      delete this.field.dataset.touched;
      this.value = next;
      this.change(next, start);
    }
  }

  private listenToSlider(signal: AbortSignal): void {
    const { slider } = this;
    slider.addEventListener('pointerdown', () => (this.fresh = true), { signal });
    slider.addEventListener(
      'input',
      () => {
        const start = this.fresh;
        this.fresh = false;
        this.move(Number(slider.value), start);
      },
      { signal }
    );
    slider.addEventListener('dblclick', () => this.move(this.range.home, true), { signal });
    slider.addEventListener(
      'keydown',
      event => {
        const next = this.afterKey(event);
        if (next !== null) {
          event.preventDefault();
          this.move(next, !event.repeat);
        }
      },
      { signal }
    );
    slider.addEventListener(
      'wheel',
      event => {
        if (slider.matches(':focus')) {
          event.preventDefault();
          // turns that follow each other at once are one gesture
          const start = event.timeStamp - this.wheeled > 400;
          this.wheeled = event.timeStamp;
          this.move(this.current - Math.sign(event.deltaY) * this.stride(), start);
        }
      },
      { signal, passive: false }
    );
  }

  private stride(): number {
    const { low, high, step } = this.range;
    return step > 0 ? step : (high - low) / 100;
  }

  /** Where a key moves the slider: an arrow by a step (ten with Shift), a Page key by a tenth, Home and End to the ends. */
  private afterKey(event: KeyboardEvent): number | null {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return null;
    }
    const { low, high } = this.range;
    const stride = this.stride() * (event.shiftKey ? 10 : 1);
    const page = Math.max(this.stride(), (high - low) / 10);
    const steps: Record<string, number> = {
      ...{ ArrowRight: stride, ArrowUp: stride, ArrowLeft: -stride, ArrowDown: -stride },
      ...{ PageUp: page, PageDown: -page, Home: -Infinity, End: Infinity }
    };
    const by = steps[event.key];
    return by === undefined ? null : Math.min(high, Math.max(low, this.current + by));
  }

  private listenToField(signal: AbortSignal): void {
    const { field } = this;
    const commit = (): void => {
      if (field.dataset.touched === 'true') {
        const typed = readNumber(field.value);
        delete field.dataset.touched;
        if (typed !== null) {
          this.move(typed, true);
        }
      }
      this.write();
    };
    field.addEventListener('input', () => (field.dataset.touched = 'true'), { signal });
    field.addEventListener('focus', () => field.select(), { signal });
    field.addEventListener('blur', commit, { signal });
    field.addEventListener(
      'keydown',
      event => {
        if (event.key === 'Enter') {
          commit();
          field.select();
        } else if (event.key === 'Escape') {
          this.write();
          field.select();
        } else if ((event.key === 'ArrowUp' || event.key === 'ArrowDown') && !event.altKey) {
          event.preventDefault();
          const from = readNumber(field.value) ?? this.current;
          const by = this.stride() * (event.shiftKey ? 10 : 1) * (event.key === 'ArrowUp' ? 1 : -1);
          this.move(from + by, !event.repeat);
          this.write();
          field.select();
        }
      },
      { signal }
    );
  }
}

/** Put what pops up under, or where there is no room above, what opened it; inside the window in any case. */
export function placePopup(popup: HTMLElement, anchor: HTMLElement): void {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popup;
  const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
  const below = at.bottom + 4;
  const above = at.top - height - 4;
  const top =
    below + height > innerHeight - 8 && above > 8 ? above : Math.max(8, Math.min(below, innerHeight - height - 8));
  popup.style.left = `${left}px`;
  popup.style.top = `${top}px`;
}

export interface MenuItem {
  label: string;
  icon?: IconName;
  disabled?: boolean;
  run: () => void;
}

/** A button that opens a menu: arrows, Home, End, first letters and Escape work as in any menu. */
export class MenuButton {
  readonly element = html('div', { class: 'nbi-menu-box' });
  readonly button: HTMLButtonElement;

  private readonly menu: HTMLElement;
  private shown: readonly MenuItem[] = [];
  private typed = '';
  private typedAt = 0;

  constructor(
    name: IconName,
    label: string,
    private readonly items: () => readonly MenuItem[],
    signal: AbortSignal,
    options: { bare?: boolean } = {}
  ) {
    this.button = iconButton(name, label, signal, () => this.toggle(), options);
    const id = freshId('menu');
    // a popover lies above everything and is cut off by no cell; the browser closes it at Escape or a press elsewhere
    this.menu = html('div', { class: 'nbi-menu', role: 'menu', id, popover: 'auto', 'aria-label': label });
    for (const [attribute, value] of Object.entries({ haspopup: 'menu', expanded: 'false', controls: id })) {
      this.button.setAttribute(`aria-${attribute}`, value);
    }
    this.button.addEventListener(
      'keydown',
      event => {
        if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
          event.preventDefault();
          this.open(event.key === 'ArrowUp');
        }
      },
      { signal }
    );
    this.menu.addEventListener('keydown', event => this.onKey(event), { signal });
    this.menu.addEventListener(
      'click',
      event => {
        const entry = (event.target as Element).closest('[role=menuitem]');
        const item = this.shown[entry === null ? -1 : [...this.menu.children].indexOf(entry)];
        if (item !== undefined && item.disabled !== true) {
          this.close();
          item.run();
        }
      },
      { signal }
    );
    this.menu.addEventListener(
      'toggle',
      () => {
        this.button.setAttribute('aria-expanded', String(this.menu.matches(':popover-open')));
      },
      { signal }
    );
    this.element.append(this.button, this.menu);
  }

  private get entries(): HTMLElement[] {
    return [...this.menu.querySelectorAll<HTMLElement>('[role=menuitem]:not(:disabled)')];
  }

  private toggle(): void {
    if (this.menu.matches(':popover-open')) {
      this.close();
    } else {
      this.open(false);
    }
  }

  private open(last: boolean): void {
    this.shown = this.items();
    this.menu.replaceChildren(...this.shown.map(item => this.entry(item)));
    this.menu.showPopover();
    placePopup(this.menu, this.button);
    this.entries.at(last ? -1 : 0)?.focus();
  }

  private close(): void {
    this.menu.hidePopover();
    this.button.focus();
  }

  private entry(item: MenuItem): HTMLElement {
    const entry = html('button', { type: 'button', role: 'menuitem', tabindex: -1, class: 'nbi-menu-item' });
    entry.append(...(item.icon === undefined ? [] : [icon(item.icon)]), html('span', {}, item.label));
    entry.disabled = item.disabled === true;
    return entry;
  }

  private onKey(event: KeyboardEvent): void {
    const { entries } = this;
    const at = entries.findIndex(entry => entry.matches(':focus'));
    const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    const to = moves[event.key];
    if (to !== undefined) {
      event.preventDefault();
      entries[(to + entries.length) % entries.length]?.focus();
    } else if (event.key === 'Escape' || event.key === 'Tab') {
      event.preventDefault();
      this.close();
    } else if (event.key.length === 1 && event.key !== ' ' && !event.ctrlKey && !event.metaKey) {
      this.typed = event.timeStamp - this.typedAt < 700 ? this.typed + event.key : event.key;
      this.typedAt = event.timeStamp;
      const wanted = this.typed.toLowerCase();
      const from = wanted.length > 1 ? Math.max(0, at) : at + 1;
      const turned = [...entries.slice(from), ...entries.slice(0, from)];
      turned.find(entry => entry.textContent.trim().toLowerCase().startsWith(wanted))?.focus();
    } else {
      return;
    }
    event.stopPropagation();
  }
}

const LONGEST_READ = 60_000;

/** A dialog with a text to read, to copy and to take away as a file. Nothing leaves the page. */
export class TextDialog {
  readonly element: HTMLDialogElement;

  private readonly heading = html('h2', { class: 'nbi-dialog-title' });
  private readonly note = html('p', { class: 'nbi-dialog-note' });
  private readonly text = html('pre', { class: 'nbi-dialog-text', tabindex: 0 });
  private readonly said = html('span', { class: 'nbi-dialog-said', role: 'status' });
  private file = { name: '', mime: 'text/plain', text: '' };

  constructor(signal: AbortSignal) {
    const id = freshId('dialog');
    this.heading.id = id;
    this.element = html('dialog', { class: 'nbi-dialog', 'aria-labelledby': id });
    const copy = iconButton('copy', 'Copy', signal, () => void this.copy());
    const download = iconButton('download', 'Download', signal, () => this.download());
    const close = iconButton('close', 'Close', signal, () => this.element.close(), { bare: true });
    copy.classList.add('nbi-primary');
    this.element.append(
      html('div', { class: 'nbi-dialog-head' }, this.heading, close),
      this.note,
      this.text,
      html('div', { class: 'nbi-dialog-foot' }, this.said, download, copy)
    );
    this.element.addEventListener('click', event => event.target === this.element && this.element.close(), { signal });
    this.element.addEventListener('keydown', event => event.stopPropagation(), { signal });
    signal.addEventListener('abort', () => this.element.open && this.element.close());
  }

  show(title: string, file: { name: string; mime: string; text: string }, note = ''): void {
    this.file = file;
    this.heading.textContent = title;
    this.note.textContent = note;
    // a page of half a megabyte is copied and saved whole, and read by nobody
    const rest = file.text.length - LONGEST_READ;
    const more = `\n… and ${rest.toLocaleString()} characters more: they are copied and saved with it`;
    this.text.textContent = rest > 0 ? file.text.slice(0, LONGEST_READ) + more : file.text;
    this.text.setAttribute('aria-label', file.name);
    this.said.textContent = '';
    this.element.showModal();
    this.text.scrollTop = 0;
  }

  private async copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.file.text);
      this.said.textContent = 'copied';
    } catch {
      // a page that is not served safely has no clipboard: then the text is selected, and one key is left to press
      getSelection()?.selectAllChildren(this.text);
      this.said.textContent = 'selected: press Ctrl+C or ⌘C';
    }
  }

  private download(): void {
    const address = URL.createObjectURL(new Blob([this.file.text], { type: this.file.mime }));
    html('a', { href: address, download: this.file.name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    this.said.textContent = `saved as ${this.file.name}`;
  }
}
