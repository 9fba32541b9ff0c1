/** How an output of ours is recognised. */

import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

/** A tiny entry in the bundle of every nbinterp widget; the Python side is nbinterp/widgets/saved.py. */
export const OURS = 'application/vnd.nbinterp.widget+json';
export const VIEW = 'application/vnd.jupyter.widget-view+json';
export const HTML = 'text/html';

/** The id of the widget model in a bundle of ours; null for any other bundle. */
export function ourModelId(data: ReadonlyPartialJSONObject | undefined): string | null {
  const view = data?.[VIEW];
  if (data === undefined || !(OURS in data) || typeof view !== 'object' || view === null || Array.isArray(view)) {
    return null;
  }
  const id = (view as ReadonlyPartialJSONObject).model_id;
  return typeof id === 'string' && id !== '' ? id : null;
}

/** Text of a notebook file, where long text may be a list of lines. */
export function joined(text: unknown): string {
  return Array.isArray(text) ? text.join('') : typeof text === 'string' ? text : '';
}

/** What a bundle of ours keeps of a widget's state. */
export interface Kept {
  kind: string;
  /** Equal where a widget was made of the same things: its hand's state may then go from one to the other. */
  origin: string;
  state: ReadonlyPartialJSONObject;
}

/** The state that a bundle of ours keeps; null where it keeps none. */
export function keptState(data: ReadonlyPartialJSONObject | undefined): Kept | null {
  const ours = data?.[OURS];
  if (typeof ours !== 'object' || ours === null || Array.isArray(ours)) {
    return null;
  }
  const { kind, origin, state } = ours as ReadonlyPartialJSONObject;
  if (typeof kind !== 'string' || typeof state !== 'object' || state === null || Array.isArray(state)) {
    return null;
  }
  return { kind, origin: typeof origin === 'string' ? origin : '', state: state as ReadonlyPartialJSONObject };
}
