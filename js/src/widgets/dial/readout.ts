/** The response curve under the pointer: its numbers, and the hand that follows. */

import { html } from '../../lib/elements';
import { place } from '../../lib/labels';
import { acrossDrawing, Readout } from '../../lib/readout';
import { percent } from '../../lib/tokens';
import type { Hand } from './face';
import type { Moment } from './moment';
import { sampleAt, type Response } from './response';

const HEADS = ['turned', 'random'];

/** A box for the response curve in which it can be read and dragged. */
export function readable(response: Response, moment: () => Moment, hand: Hand, signal: AbortSignal): HTMLElement {
  const readout = new Readout();
  const show = (x: number): void => {
    const { sweep, labels } = moment();
    const sample = sweep === null ? null : sampleAt(sweep, response.angleAt(x));
    if (sample === null) {
      readout.hide();
      return;
    }
    const { index, rows, angle } = sample;
    const lines = rows.map(({ text, turned, control }) => ({
      text,
      cells: [
        ['turned', percent(turned[index] ?? NaN)],
        ['control', percent(control[index] ?? NaN)]
      ] as const
    }));
    readout.show([place(labels, angle), ...HEADS], lines, x);
  };
  const follow = (x: number): void => hand.to(response.angleAt(x));
  acrossDrawing(response.element, follow, x => (x === null ? readout.hide() : show(x)), signal);
  return html('div', { class: 'nbi-response-box' }, response.element, readout.element);
}
