/** What the playground shows at one moment, read from the synced traits in one place. */

import type { AnyModel } from '@anywidget/types';
import type {
  Act,
  Added,
  Curve,
  Generated,
  Kept,
  PlaygroundAnswer,
  PlaygroundSpec,
  Recipe,
  Setting,
  Task,
  Timeline
} from '../../lib/protocol';
import { readSelection, type SelectionTraits } from '../../lib/selection';
import { isStill } from '../../lib/still';

/** The traits that Python and the page share. */
export interface PlaygroundTraits extends SelectionTraits {
  spec: PlaygroundSpec;
  recipes: Recipe[];
  added: Added;
  setting: Setting;
  answer: PlaygroundAnswer | null;
  curves: Curve[];
  generated: Generated | null;
  kept: Kept[];
  timeline: Timeline;
  task: Task | null;
  problem: string;
}

export type PlaygroundModel = AnyModel<PlaygroundTraits>;

export interface Picks {
  tokens: readonly number[];
  layers: readonly number[];
  heads: readonly (readonly [layer: number, head: number])[];
}

export interface Moment {
  spec: PlaygroundSpec;
  recipes: ReadonlyMap<string, Recipe>;
  setting: Setting;
  answer: PlaygroundAnswer | null;
  /** Whether the answer belongs to the setting. */
  current: boolean;
  curves: readonly Curve[];
  generated: Generated | null;
  kept: readonly Kept[];
  timeline: Timeline;
  task: Task | null;
  problem: string;
  picks: Picks;
  /** Nobody answers: see lib/still.ts. */
  still: boolean;
}

/** Python may say "nothing yet" with null or with an empty dictionary. */
function filled<T extends object>(message: T | null | undefined, field: keyof T): T | null {
  return message !== null && message !== undefined && field in message ? message : null;
}

export function readMoment(model: PlaygroundModel): Moment {
  const spec = model.get('spec');
  const setting = model.get('setting');
  const answer = filled(model.get('answer'), 'candidates');
  const picked = readSelection(model);
  return {
    spec,
    recipes: new Map(model.get('recipes').map(recipe => [recipe.id, recipe])),
    setting,
    answer,
    current: answer !== null && answer.moment === setting.moment,
    curves: isStill(model) ? trueCurves(model.get('curves'), answer) : model.get('curves'),
    generated: filled(model.get('generated'), 'base'),
    kept: model.get('kept'),
    timeline: model.get('timeline'),
    task: filled(model.get('task'), 'name'),
    problem: model.get('problem'),
    // what was picked in a longer prompt, or another model, means nothing here
    picks: {
      tokens: picked.tokens.filter(token => token < (answer?.tokens.length ?? Infinity)),
      layers: picked.layers.filter(layer => layer < spec.n_layers),
      heads: picked.heads
    },
    still: isStill(model)
  };
}

/** An answer that may have been stored before there were warnings and keys of curves. */
type Stored = Omit<PlaygroundAnswer, 'warnings' | 'curves'> & Partial<Pick<PlaygroundAnswer, 'warnings' | 'curves'>>;

/** What has to be known about an answer. */
export function warningsOf(answer: Stored | null): readonly string[] {
  return answer?.warnings ?? [];
}

/** The curves that a stored answer vouches for: others were drawn under another stack, and nobody draws them anew. */
function trueCurves(curves: readonly Curve[], answer: Stored | null): readonly Curve[] {
  const keys = answer?.curves;
  return keys === undefined ? curves : curves.filter(curve => keys.includes(curve.key));
}

/** The intervention whose slider was touched last, its recipe, and the number that the slider is of. */
export function inHand({ setting, recipes }: Pick<Moment, 'setting' | 'recipes'>): {
  act: Act;
  recipe: Recipe;
  parameter: Recipe['parameters'][number];
} | null {
  const act = setting.acts.find(one => one.id === setting.hand);
  const recipe = act === undefined ? undefined : recipes.get(act.recipe);
  const parameter = recipe?.parameters.find(one => one.name === setting.parameter);
  return act === undefined || recipe === undefined || parameter === undefined ? null : { act, recipe, parameter };
}

/** The curve of a slider, if it has one. */
export function curveOf(curves: readonly Curve[], act: string, parameter: string): Curve | null {
  return curves.find(curve => curve.act === act && curve.parameter === parameter) ?? null;
}

/** "resid_post.12 · head 3". */
export function siteOf(act: Act): string {
  const site = act.layer < 0 ? act.component : `${act.component}.${act.layer}`;
  return act.head < 0 ? site : `${site}.${act.head}`;
}
