/** A choice among named things, as the browser's own menu. */

import { html } from '../../lib/elements';
import { visible } from '../../lib/tokens';
import { cut } from './words';

export interface Option {
  value: string;
  text: string;
}

export class Choice {
  readonly element: HTMLElement;

  private readonly select: HTMLSelectElement;
  private known = '';

  /** `label` stands before the menu; `name` is what it is called where nothing stands around it. */
  constructor(label: string, name: string, chosen: (value: string) => void, signal: AbortSignal) {
    this.select = html('select', { class: 'atlas-select', 'aria-label': name });
    // the name begins with what is read beside it
    this.element = html('span', { class: 'atlas-choice' }, html('span', { 'aria-hidden': 'true' }, label), this.select);
    this.select.addEventListener('change', () => chosen(this.select.value), { signal });
  }

  get value(): string {
    return this.select.value;
  }

  update(options: readonly Option[], value: string): void {
    // a menu that is open closes when its entries are replaced
    const key = JSON.stringify(options);
    if (key !== this.known) {
      this.known = key;
      this.select.replaceChildren(
        ...options.map(option => html('option', { value: option.value }, cut(visible(option.text))))
      );
    }
    if (this.select.value !== value) {
      this.select.value = value;
    }
  }

  disable(disabled: boolean): void {
    this.select.disabled = disabled;
  }
}
