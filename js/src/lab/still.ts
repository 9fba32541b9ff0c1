/** A view without a kernel: the widget itself, drawn from the state that the notebook keeps. */

import type { AnyWidget } from '@anywidget/types';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { revive, stillProps } from '../lib/still';
import type { Kept } from './ours';

interface Bundle {
  default: AnyWidget;
}

/** The widgets' own bundles, fetched when one is shown. */
const BUNDLES: Readonly<Record<string, () => Promise<[Bundle, unknown]>>> = {
  atlas: () => Promise.all([import('../../../nbinterp/static/atlas.js'), import('../../../nbinterp/static/atlas.css')]),
  attention: () =>
    Promise.all([import('../../../nbinterp/static/attention.js'), import('../../../nbinterp/static/attention.css')]),
  circuit: () =>
    Promise.all([import('../../../nbinterp/static/circuit.js'), import('../../../nbinterp/static/circuit.css')]),
  dial: () => Promise.all([import('../../../nbinterp/static/dial.js'), import('../../../nbinterp/static/dial.css')]),
  grid: () => Promise.all([import('../../../nbinterp/static/grid.js'), import('../../../nbinterp/static/grid.css')]),
  playground: () =>
    Promise.all([import('../../../nbinterp/static/playground.js'), import('../../../nbinterp/static/playground.css')]),
  scatter: () =>
    Promise.all([import('../../../nbinterp/static/scatter.js'), import('../../../nbinterp/static/scatter.css')])
};

/** Draw a widget from its kept state; rejects where it cannot be drawn. */
export async function drawStill(kept: Kept, signal: AbortSignal): Promise<HTMLElement> {
  const bundle = Object.hasOwn(BUNDLES, kept.kind) ? BUNDLES[kept.kind] : undefined;
  if (bundle === undefined) {
    throw new Error(`there is no still view of ${kept.kind}`);
  }
  const [{ default: made }] = await bundle();
  const widget = typeof made === 'function' ? await made() : made;
  const el = document.createElement('div');
  await widget.render?.(stillProps(revive(kept.state) as ReadonlyPartialJSONObject, el, signal));
  return el;
}
