/** The prompt as tokens to choose from, and the layer. */

import { freshId, html } from '../../lib/elements';
import type { DialSpec } from '../../lib/protocol';
import { visible, writeToken } from '../../lib/tokens';
import type { Moment } from './moment';

export interface Choice {
  token(index: number): void;
  layer(number: number): void;
}

export class Header {
  readonly element = html('header', { class: 'nbi-header' });

  private readonly name = freshId('token');
  private readonly chips = html('div', { class: 'nbi-chips' });
  private readonly slider = html('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Layer' });
  private readonly number = html('output', { class: 'nbi-layer-number' });
  private readonly statement = html('p', { class: 'nbi-statement' });
  private spec: DialSpec | null = null;

  constructor(choice: Choice, signal: AbortSignal) {
    const legend = html('legend', {}, 'turn at');
    const tokens = html('fieldset', { class: 'nbi-prompt' }, legend, this.chips);
    const layer = html('div', { class: 'nbi-layer' }, html('span', {}, 'layer'), this.slider, this.number);
    this.element.append(html('div', { class: 'nbi-choices' }, tokens, layer), this.statement);
    this.chips.addEventListener('change', event => choice.token(Number((event.target as HTMLInputElement).value)), {
      signal
    });
    this.slider.addEventListener(
      'input',
      () => {
        const layer = this.spec?.layers[Number(this.slider.value)];
        if (layer !== undefined) {
          choice.layer(layer.layer);
        }
      },
      { signal }
    );
  }

  update(moment: Moment): void {
    if (moment.spec !== this.spec) {
      this.spec = moment.spec;
      this.chips.replaceChildren(...moment.spec.tokens.map((token, index) => this.chip(token, index)));
      this.slider.max = String(Math.max(0, moment.spec.layers.length - 1));
      this.slider.hidden = moment.spec.layers.length < 2;
    }
    for (const input of this.chips.querySelectorAll('input')) {
      input.checked = Number(input.value) === moment.token;
    }
    const number = moment.layer?.layer;
    this.slider.value = String(moment.spec.layers.findIndex(layer => layer.layer === number));
    this.slider.setAttribute('aria-valuetext', `layer ${number ?? 'none'}`);
    this.number.textContent = String(number ?? '–');
    this.statement.textContent = moment.layer?.statement ?? 'No circle was fitted at this layer.';
  }

  private chip(token: string, index: number): HTMLElement {
    const input = html('input', { type: 'radio', name: this.name, value: index, class: 'nbi-hidden' });
    input.setAttribute('aria-label', `token ${index + 1}: ${visible(token)}`);
    const text = html('span', {});
    writeToken(text, token);
    return html('label', { class: 'nbi-chip' }, input, text);
  }
}
