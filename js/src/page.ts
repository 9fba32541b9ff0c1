/** A page of its own that shows one widget with the state that is written into it; see nbinterp/widgets/standalone.py. */

import type { Render } from '@anywidget/types';
import { revive, stillProps } from './lib/still';

function written(id: string): string {
  return document.getElementById(id)?.textContent ?? '';
}

const dark = matchMedia('(prefers-color-scheme: dark)');
const followTheme = (): void => {
  document.body.dataset.jpThemeLight = String(!dark.matches);
};
dark.addEventListener('change', followTheme);
followTheme();

const address = URL.createObjectURL(new Blob([written('nbinterp-widget')], { type: 'text/javascript' }));
const { default: widget } = (await import(address)) as { default: { render: Render } };
URL.revokeObjectURL(address);
const el = document.createElement('div');
await widget.render(
  stillProps(revive(JSON.parse(written('nbinterp-state'))) as object, el, new AbortController().signal)
);
// the picture stays where the widget could not be drawn
document.getElementById('nbinterp-view')?.replaceChildren(el);
