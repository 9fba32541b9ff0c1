/** What can be done where something is picked, on the stack of the Playground that a view follows. */

import type { AnyModel } from '@anywidget/types';
import { Asking } from './asking';
import { iconButton } from './controls';
import { html } from './elements';
import { Keyed } from './keyed';
import './offers.css';
import type { Offered } from './protocol';
import { isStill } from './still';
import { visible } from './tokens';

/** A state that was stored before there were offers has none. */
export interface OffersTraits {
  offers?: Offered[];
}

const ON_STACK = 'on the stack';

export class Offers {
  readonly element = html('div', { class: 'nbi-offers', role: 'group', 'aria-label': 'In the Playground', hidden: '' });

  private readonly list = html('div', { class: 'nbi-offers-list' });
  private readonly problem = html('p', { class: 'nbi-problem', role: 'alert' });
  private readonly buttons: Keyed<Offered, { element: HTMLButtonElement; note: HTMLElement }>;

  constructor(
    private readonly model: AnyModel<OffersTraits>,
    signal: AbortSignal
  ) {
    const asking = new Asking(model, signal);
    const put = (words: string): void => {
      this.problem.textContent = '';
      asking.ask('put', { words }).catch((error: unknown) => {
        this.problem.textContent = visible(error instanceof Error ? error.message : String(error)).slice(0, 1200);
      });
    };
    this.buttons = new Keyed(
      this.list,
      ({ words }) => words,
      ({ words }) => {
        const element = iconButton('add', visible(words), signal, () => {
          if (element.getAttribute('aria-disabled') !== 'true') {
            put(words);
          }
        });
        const note = html('span', { class: 'nbi-offer-note' });
        element.append(note);
        return { element, note };
      },
      ({ element, note }, { done }) => {
        // a button that was pressed keeps the focus
        element.setAttribute('aria-disabled', String(done));
        note.textContent = done ? ON_STACK : '';
      }
    );
    this.element.append(this.list, this.problem);
  }

  update(): void {
    const offers = isStill(this.model) ? [] : (this.model.get('offers') ?? []);
    this.element.hidden = offers.length === 0;
    this.buttons.update(offers);
  }
}
