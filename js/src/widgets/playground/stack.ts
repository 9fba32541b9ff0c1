/** The stack of interventions, in the order in which they act. */

import { html } from '../../lib/elements';
import { Keyed } from '../../lib/keyed';
import type { Act, PlaygroundAnswer, Recipe } from '../../lib/protocol';
import { AddButton } from './add';
import { Card } from './card';
import { actFrom, addAct, freshId, moveAct } from './edits';
import type { Hand } from './hand';
import { Here } from './here';
import { warningsOf, type Moment } from './moment';
import { writePlace } from './places';
import { Warnings } from './warnings';

export class Stack {
  readonly element = html('section', { class: 'nbi-stack', role: 'group', 'aria-label': 'Interventions' });

  private readonly add: AddButton;
  private readonly here: Here;
  private readonly warnings: Warnings;
  private readonly cards: Keyed<Act, Card>;
  private readonly empty = html('p', { class: 'nbi-empty-words' });
  private readonly count = html('span', { class: 'nbi-count' });
  private moment: Moment | null = null;
  private awaited = '';

  constructor(
    private readonly hand: Hand,
    signal: AbortSignal
  ) {
    this.add = new AddButton(recipe => this.put(recipe), signal);
    this.here = new Here((recipe, acts) => this.putAll(recipe, acts), signal);
    this.warnings = new Warnings(signal);
    const list = html('ol', { class: 'nbi-cards' });
    this.cards = new Keyed<Act, Card>(
      list,
      act => act.id,
      act => new Card(act.id, hand, signal),
      (card, act, index) => {
        if (this.moment !== null) {
          card.update(act, index, this.moment);
        }
      }
    );
    const title = html('h2', { class: 'nbi-heading' }, 'Interventions ', this.count);
    const heading = html('div', { class: 'nbi-heading-line' }, title, this.add.element);
    this.element.append(heading, this.here.element, this.empty, list);
    this.element.append(this.warnings.element);
    this.listenToGrips(list, signal);
  }

  /** `answer` is what is shown, which without Python follows the stored curve. */
  update(moment: Moment, answer: PlaygroundAnswer | null): void {
    this.moment = moment;
    this.warnings.update(warningsOf(answer));
    const { acts } = moment.setting;
    this.cards.update(acts, { glide: true });
    const on = acts.filter(act => act.on).length;
    this.count.textContent = acts.length === 0 ? '' : on === acts.length ? `${on}` : `${on} of ${acts.length} on`;
    this.empty.hidden = acts.length > 0;
    this.empty.textContent = moment.still
      ? 'Nothing was changed here.'
      : 'Nothing is changed yet. Pick a token and a layer above, then add an intervention: its numbers become sliders.';
    const tokens = moment.picks.tokens.length > 0 ? `tokens ${writePlace(moment.picks.tokens)}` : 'the last token';
    const [layer] = moment.picks.layers;
    const [head] = moment.picks.heads;
    const picked =
      head === undefined ? (layer === undefined ? '' : `layer ${layer}`) : `head ${head[1]} of layer ${head[0]}`;
    const where = `acts on ${tokens}, ${picked === '' ? 'at the layer where it was found, else in the middle' : picked}`;
    this.add.update([...moment.recipes.values()], where, moment.still);
    this.here.update(moment);
    if (this.awaited !== '') {
      this.cards.get(this.awaited)?.focus();
      this.awaited = '';
    }
  }

  private put(recipe: Recipe): void {
    const { moment } = this;
    if (moment === null) {
      return;
    }
    const layered = (name: string): boolean => moment.spec.components.find(one => one.name === name)?.layered ?? true;
    this.putAll(recipe, [actFrom(recipe, moment.picks, layered, freshId())]);
  }

  /** Put acts of one recipe on the stack, in one step of the hand. */
  private putAll(recipe: Recipe, acts: readonly Act[]): void {
    const last = acts.at(-1);
    if (last !== undefined) {
      // the keyboard goes on at the new card, once it is drawn
      this.awaited = last.id;
      const parameter = recipe.parameters[0]?.name ?? '';
      this.hand.edit(setting => acts.reduce((before, act) => addAct(act, parameter)(before), setting));
    }
  }

  private listenToGrips(list: HTMLElement, signal: AbortSignal): void {
    list.addEventListener(
      'pointerdown',
      event => {
        const card = (event.target as Element).closest('.nbi-grip')?.closest<HTMLElement>('.nbi-card');
        if (card?.dataset.act !== undefined && event.button === 0 && this.moment?.still === false) {
          event.preventDefault();
          this.drag(card, card.dataset.act, event.pointerId, signal);
        }
      },
      { signal }
    );
  }

  /** Let a card follow the pointer from place to place: one gesture. */
  private drag(card: HTMLElement, id: string, pointer: number, signal: AbortSignal): void {
    const drag = new AbortController();
    const listen = { signal: drag.signal };
    let start = true;
    card.classList.add('nbi-dragged');
    const end = (): void => {
      card.classList.remove('nbi-dragged');
      drag.abort();
    };
    const move = (event: PointerEvent): void => {
      if (event.pointerId !== pointer) {
        return;
      }
      const others = this.hand.setting.acts.filter(act => act.id !== id);
      const to = others.filter(act => {
        const box = this.cards.get(act.id)?.element.getBoundingClientRect();
        return box !== undefined && event.clientY > box.top + box.height / 2;
      }).length;
      if (this.hand.setting.acts[to]?.id !== id) {
        this.hand.edit(moveAct(id, to), start);
        start = false;
      }
    };
    // a card that moves in the page loses the pointer: the window keeps it
    addEventListener('pointermove', move, listen);
    addEventListener('pointerup', end, listen);
    addEventListener('pointercancel', end, listen);
    signal.addEventListener('abort', end, listen);
  }
}
