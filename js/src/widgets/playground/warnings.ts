/** What has to be known about the answer: an intervention without effect, or with another one than it seems. */

import { html } from '../../lib/elements';
import { afterQuiet } from '../../lib/timing';
import { visible } from '../../lib/tokens';

const QUIET = 400;
const LONGEST = 600;

export class Warnings {
  private readonly list = html('ul');
  readonly element = html('div', { class: 'nbi-warnings', role: 'status' }, this.list);

  private wanted: readonly string[] = [];
  private shown: readonly string[] = [];
  private readonly settle: () => void;

  constructor(signal: AbortSignal) {
    this.settle = afterQuiet(() => this.show(this.wanted), QUIET, signal);
  }

  /** One that no longer holds goes at once; a new one comes when the hand rests, so that nothing jumps under it. */
  update(sentences: readonly string[]): void {
    this.show(this.shown.filter(one => sentences.includes(one)));
    this.wanted = sentences;
    if (sentences.length > this.shown.length) {
      this.settle();
    }
  }

  private show(sentences: readonly string[]): void {
    // what is read aloud is only written when it changes
    if (sentences.length !== this.shown.length || sentences.some((one, at) => one !== this.shown[at])) {
      this.shown = sentences;
      this.list.replaceChildren(...sentences.map(one => html('li', {}, visible(one).slice(0, LONGEST))));
    }
  }
}
