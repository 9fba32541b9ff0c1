/** What can be done in one click at exactly the place that is picked, here or in a linked grid. */

import { iconButton } from '../../lib/controls';
import { html } from '../../lib/elements';
import type { Act, Recipe } from '../../lib/protocol';
import { visible } from '../../lib/tokens';
import { actFrom, freshId } from './edits';
import { siteOf, type Moment, type Picks } from './moment';
import { writePlace } from './places';

const OFFERED = ['ablate', 'patch'] as const;
/** More places than these are not acted at in one click. */
const MOST = 12;

/** One pick a place: each head, or else each layer, with the tokens. */
function placesOf({ tokens, layers, heads }: Picks): Picks[] {
  return heads.length > 0
    ? heads.map(pair => ({ tokens, layers: [], heads: [pair] }))
    : layers.map(layer => ({ tokens, layers: [layer], heads: [] }));
}

/** The interventions that a recipe makes at what is picked, one a place; none where nothing or too much is picked. */
export function actsHere(recipe: Recipe, { picks, spec }: Pick<Moment, 'picks' | 'spec'>): Act[] {
  const places = placesOf(picks);
  const layered = (name: string): boolean => spec.components.find(one => one.name === name)?.layered ?? true;
  return places.length > MOST ? [] : places.map(place => actFrom(recipe, place, layered, freshId()));
}

/** "resid_post.12 at “·France”", "z.18.6, z.18.7 at the last token". */
export function whereWords(acts: readonly Act[], { picks, answer }: Pick<Moment, 'picks' | 'answer'>): string {
  const sites = acts.slice(0, 2).map(siteOf).join(', ') + (acts.length > 2 ? ` and ${acts.length - 2} more` : '');
  const [token] = picks.tokens;
  const text = token === undefined ? undefined : answer?.tokens[token];
  const tokens =
    token === undefined
      ? 'the last token'
      : picks.tokens.length > 1 || text === undefined
        ? `tokens ${writePlace(picks.tokens)}`
        : `“${visible(text.slice(0, 30))}”`;
  return `${sites} at ${tokens}`;
}

export class Here {
  readonly element = html('div', { class: 'nbi-here', role: 'group', 'aria-label': 'At what is picked', hidden: '' });

  private readonly where = html('span', { class: 'nbi-here-where' });
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private moment: Moment | null = null;

  constructor(put: (recipe: Recipe, acts: readonly Act[]) => void, signal: AbortSignal) {
    for (const id of OFFERED) {
      const button = iconButton('add', id === 'ablate' ? 'Ablate' : 'Patch', signal, () => {
        const recipe = this.moment?.recipes.get(id);
        if (this.moment !== null && recipe !== undefined) {
          put(recipe, actsHere(recipe, this.moment));
        }
      });
      this.buttons.set(id, button);
    }
    this.element.append(...this.buttons.values(), this.where);
  }

  update(moment: Moment): void {
    this.moment = moment;
    const recipes = OFFERED.map(id => moment.recipes.get(id));
    const known = recipes.find(recipe => recipe !== undefined);
    const acts = known === undefined || moment.still ? [] : actsHere(known, moment);
    this.element.hidden = acts.length === 0;
    const words = acts.length === 0 ? '' : whereWords(acts, moment);
    if (this.where.textContent !== words) {
      this.where.textContent = words;
      for (const [id, button] of this.buttons) {
        button.setAttribute('aria-label', `${id === 'ablate' ? 'Ablate' : 'Patch'} ${words}`);
      }
    }
    for (const [id, button] of this.buttons) {
      button.hidden = !moment.recipes.has(id);
    }
  }
}
