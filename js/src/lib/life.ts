/** How long a view lives, and whom it listens to while it does. */

import type { AnyModel } from '@anywidget/types';
import type { Pictured } from './picture';

/** What ends with a view: the host's signal ends it, and whoever drew it may. */
export function lifeOf(root: Pictured, signal: AbortSignal | undefined): AbortController {
  const life = new AbortController();
  // an anywidget older than 0.11 passes no signal
  signal?.addEventListener('abort', () => life.abort(), { signal: life.signal });
  life.signal.addEventListener('abort', () => {
    // ipywidgets keeps the element of every view that was ever closed: what it keeps is empty
    root.replaceChildren();
    delete root.nbinterpPicture;
    delete root.nbinterpState;
    delete root.nbinterpRestore;
  });
  return life;
}

/** Call `changed` whenever one of these traits changes, until the signal ends it. */
export function onChange<T extends object>(
  model: AnyModel<T>,
  traits: readonly (keyof T & string)[],
  changed: () => void,
  signal: AbortSignal
): void {
  for (const trait of traits) {
    model.on(`change:${trait}`, changed);
    signal.addEventListener('abort', () => model.off(`change:${trait}`, changed));
  }
}
