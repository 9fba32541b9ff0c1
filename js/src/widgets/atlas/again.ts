/** Below the charts: the Playground that a claim was steered with, and the cloud collected again under its interventions. */

import type { AnyModel } from '@anywidget/types';
import { toggle } from '../../lib/controls';
import { html } from '../../lib/elements';
import type { Again } from '../../lib/protocol';
import { visible } from '../../lib/tokens';
import { renderPlayground } from '../playground';
import { Memo, type AtlasModel } from './traits';

/** What newer hosts of anywidgets offer for finding another widget's model. */
export type FindModel = (reference: string) => Promise<AnyModel>;

export function findModel(model: AtlasModel, host: { getModel?: FindModel } | undefined): FindModel {
  return reference => {
    const manager = model.widget_manager as { get_model?: (id: string) => Promise<AnyModel> } | undefined;
    if (manager?.get_model !== undefined) {
      return manager.get_model(reference.replace('IPY_MODEL_', ''));
    }
    return host?.getModel === undefined ? Promise.reject(new Error('no host')) : host.getModel(reference);
  };
}

export class Beside {
  readonly element = html('section', { class: 'atlas-beside', 'aria-label': 'Steering', hidden: '' });

  private readonly place = html('div', { class: 'atlas-playground' });
  private readonly collect = html(
    'button',
    { type: 'button', class: 'nbi-button' },
    'Collect again under these interventions'
  );
  private readonly told = html('p', { class: 'atlas-again' });
  private readonly ghost: HTMLInputElement;
  private readonly ghostLabel: HTMLLabelElement;
  private readonly memo = new Memo();
  private life: AbortController | null = null;
  private drawn = '';
  private begun = false;

  constructor(
    private readonly find: FindModel,
    collect: () => void,
    show: (on: boolean) => void,
    private readonly still: boolean,
    signal: AbortSignal
  ) {
    this.collect.addEventListener('click', collect, { signal });
    this.collect.hidden = still;
    this.ghost = toggle('Show the cloud under these interventions', signal, show);
    this.ghost.checked = true;
    this.ghostLabel = html('label', { class: 'atlas-only' }, this.ghost, html('span', {}, 'show it beside the cloud'));
    const tools = html('div', { class: 'atlas-beside-tools' }, this.collect, this.ghostLabel, this.told);
    this.element.append(html('h3', { class: 'atlas-heading' }, 'Steering'), tools, this.place);
    signal.addEventListener('abort', () => this.life?.abort());
  }

  get showsGhost(): boolean {
    return this.ghost.checked;
  }

  update(playground: string, again: Again | null): void {
    if (!this.memo.changed(playground, again)) {
      return;
    }
    this.element.hidden = (playground === '' || this.still) && again === null;
    this.ghostLabel.hidden = again === null;
    this.told.textContent = again === null ? '' : `${visible(again.what)}: ${visible(again.statement)}`;
    if (playground !== this.drawn && !this.still) {
      this.drawn = playground;
      this.life?.abort();
      this.place.replaceChildren();
      if (playground !== '') {
        void this.draw(playground, this.begun);
      }
    }
    this.begun = true;
  }

  private async draw(reference: string, scroll: boolean): Promise<void> {
    const life = new AbortController();
    this.life = life;
    try {
      const model = await this.find(reference);
      if (!life.signal.aborted) {
        const el = html('div');
        this.place.replaceChildren(el);
        // one that was there when the page came is not scrolled to
        if (scroll) {
          const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
          this.element.scrollIntoView({ block: 'nearest', behavior: calm ? 'auto' : 'smooth' });
        }
        renderPlayground({ model: model as never, el, signal: life.signal });
      }
    } catch {
      this.place.replaceChildren(
        html(
          'p',
          { class: 'atlas-note' },
          'The Playground cannot be drawn here: show ',
          html('code', {}, 'atlas.playground'),
          ' in a cell of its own.'
        )
      );
    }
  }
}
