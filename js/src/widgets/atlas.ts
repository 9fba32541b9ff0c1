/** The Atlas: one cloud in several pictures that share one selection, from a lasso to a causal claim. */

import type { RenderProps } from '@anywidget/types';
import { keepKeys } from '../lib/keys';
import { lifeOf } from '../lib/life';
import type { Pictured } from '../lib/picture';
import { themeStyle } from '../lib/theme';
import './atlas/atlas.css';
import sheet from './atlas/atlas.figure.css';
import { Desk } from './atlas/desk';
import type { AtlasTraits } from './atlas/traits';

function render({ model, el, signal, ...rest }: RenderProps<AtlasTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbinterp-atlas');
  keepKeys(root, life.signal);
  root.replaceChildren(themeStyle(root, life.signal, sheet));
  const desk = new Desk(model, root, rest, life.signal);
  desk.start();
  return () => life.abort();
}

export default { render };
