/** What the pointer does on the response curve: read the numbers there, and move the hand. */

import { html } from '../../lib/elements';
import { place } from '../../lib/labels';
import { percent, writeToken } from '../../lib/tokens';
import type { Hand } from './face';
import type { Moment } from './moment';
import { sampleAt, type Response } from './response';

export class Readout {
  readonly element = html('div', { class: 'nbi-response-box' });
  private readonly box = html('div', { class: 'nbi-readout', 'aria-hidden': 'true', hidden: '' });

  constructor(
    private readonly response: Response,
    private readonly moment: () => Moment,
    hand: Hand,
    signal: AbortSignal
  ) {
    this.element.append(response.element, this.box);
    const drawing = response.element;
    let dragged: number | null = null;
    const across = (event: PointerEvent): number => event.clientX - drawing.getBoundingClientRect().left;
    drawing.addEventListener(
      'pointerdown',
      event => {
        if (event.button === 0 && event.isPrimary) {
          dragged = event.pointerId;
          drawing.setPointerCapture(event.pointerId);
          hand.to(response.angleAt(across(event)));
        }
      },
      { signal }
    );
    drawing.addEventListener(
      'pointermove',
      event => {
        if (event.pointerId === dragged) {
          hand.to(response.angleAt(across(event)));
        }
        this.show(across(event));
      },
      { signal }
    );
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture'] as const) {
      drawing.addEventListener(end, () => (dragged = null), { signal });
    }
    drawing.addEventListener('pointerleave', () => (this.box.hidden = true), { signal });
  }

  private show(x: number): void {
    const { sweep, labels } = this.moment();
    const sample = sweep === null ? null : sampleAt(sweep, this.response.angleAt(x));
    this.box.hidden = sample === null;
    if (sample === null) {
      return;
    }
    const cell = (text: string, kind: string): HTMLElement => html('td', { class: kind }, text);
    const rows = sample.rows.map(series => {
      const name = html('th', { scope: 'row' });
      writeToken(name, series.text);
      const turned = percent(series.turned[sample.index] ?? NaN);
      const control = percent(series.control[sample.index] ?? NaN);
      return html('tr', {}, name, cell(turned, 'nbi-of-turned'), cell(control, 'nbi-of-control'));
    });
    const head = html(
      'tr',
      {},
      html('th', {}, place(labels, sample.angle)),
      html('th', {}, 'turned'),
      html('th', {}, 'random')
    );
    this.box.replaceChildren(html('table', {}, head, ...rows));
    const room = this.element.clientWidth - this.box.offsetWidth;
    const beside = x + 14 > room ? x - this.box.offsetWidth - 14 : x + 14;
    this.box.style.left = `${Math.max(0, Math.min(room, beside))}px`;
  }
}
