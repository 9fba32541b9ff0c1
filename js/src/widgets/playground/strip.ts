/** A row of things to pick: tokens of a prompt, layers of a model. One stop for the Tab key, arrows inside. */

import { html } from '../../lib/elements';
import { Keyed } from '../../lib/keyed';

export interface StripItem {
  /** Write what is seen. */
  write(cell: HTMLElement): void;
  /** What decides whether it has to be written again. */
  text: string;
  /** What is read aloud. */
  label: string;
  /** Whether something acts here. */
  marked: boolean;
}

interface Cell {
  element: HTMLElement;
  text: string | null;
}

export class Strip {
  readonly element: HTMLElement;

  private readonly cells: Keyed<StripItem, Cell>;
  private items: readonly StripItem[] = [];
  private picked: ReadonlySet<number> = new Set();
  private anchor = 0;
  private focus = 0;

  constructor(
    label: string,
    className: string,
    private readonly pick: (picked: number[]) => void,
    signal: AbortSignal
  ) {
    this.element = html('div', {
      ...{ class: `nbi-strip ${className}`, role: 'listbox', 'aria-multiselectable': 'true' },
      ...{ 'aria-orientation': 'horizontal', 'aria-label': label }
    });
    this.cells = new Keyed<StripItem, Cell>(
      this.element,
      (_, index) => String(index),
      () => ({ element: html('span', { class: 'nbi-cell', role: 'option' }), text: null }),
      (cell, item, index) => this.write(cell, item, index)
    );
    let dragging = false;
    this.element.addEventListener(
      'pointerdown',
      event => {
        const at = this.at(event);
        if (at >= 0 && event.button === 0) {
          dragging = event.pointerType === 'mouse';
          this.press(at, event.shiftKey, event.ctrlKey || event.metaKey);
        }
      },
      { signal }
    );
    // a mouse that stays down goes on picking
    this.element.addEventListener(
      'pointermove',
      event => {
        const at = dragging && event.buttons === 1 ? this.at(event) : -1;
        if (at >= 0 && at !== this.focus) {
          this.press(at, true, false);
        }
      },
      { signal }
    );
    for (const end of ['pointerup', 'pointerleave', 'pointercancel'] as const) {
      this.element.addEventListener(end, () => (dragging = false), { signal });
    }
    this.element.addEventListener('keydown', event => this.onKey(event), { signal });
  }

  update(items: readonly StripItem[], picked: readonly number[], disabled: boolean): void {
    this.items = items;
    this.picked = new Set(picked);
    this.focus = Math.max(0, Math.min(this.focus, items.length - 1));
    this.element.setAttribute('aria-disabled', String(disabled));
    this.cells.update(items);
  }

  private write(cell: Cell, item: StripItem, index: number): void {
    const { element } = cell;
    if (cell.text !== item.text) {
      cell.text = item.text;
      item.write(element);
      element.setAttribute('aria-label', item.label);
      element.title = item.label;
    }
    const picked = this.picked.has(index);
    element.setAttribute('aria-selected', String(picked));
    element.tabIndex = index === this.focus ? 0 : -1;
    element.classList.toggle('nbi-picked', picked);
    element.classList.toggle('nbi-marked', item.marked);
  }

  private at(event: Event): number {
    const cell = (event.target as Element).closest('.nbi-cell');
    return cell === null ? -1 : [...this.element.children].indexOf(cell);
  }

  /** Pick one, or with `extend` all from the one before; the only one that is picked is let go. */
  private press(index: number, extend: boolean, add: boolean): void {
    let picked: number[];
    if (extend) {
      const [low, high] = [Math.min(this.anchor, index), Math.max(this.anchor, index)];
      picked = Array.from({ length: high - low + 1 }, (_, at) => low + at);
    } else {
      this.anchor = index;
      const others = add ? [...this.picked].filter(one => one !== index) : [];
      const letGo = this.picked.has(index) && (add || this.picked.size === 1);
      picked = letGo ? others : [...others, index].sort((a, b) => a - b);
    }
    this.goTo(index);
    this.pick(picked);
  }

  private goTo(index: number, scroll = false): void {
    this.focus = index;
    const cells = [...this.element.children] as HTMLElement[];
    cells.forEach((cell, at) => (cell.tabIndex = at === index ? 0 : -1));
    cells[index]?.focus({ preventScroll: !scroll });
  }

  private onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const last = this.items.length - 1;
    const to: Record<string, number> = {
      ...{ ArrowRight: this.focus + 1, ArrowLeft: this.focus - 1, ArrowDown: this.focus + 1, ArrowUp: this.focus - 1 },
      ...{ Home: 0, End: last }
    };
    const index = to[event.key];
    if (index !== undefined) {
      const place = Math.max(0, Math.min(last, index));
      if (event.shiftKey) {
        this.press(place, true, false);
      } else {
        this.goTo(place, true);
      }
    } else if (event.key === ' ' || event.key === 'Enter') {
      this.press(this.focus, event.shiftKey, !event.shiftKey);
    } else if (event.key === 'Escape' && this.picked.size > 0) {
      this.pick([]);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
