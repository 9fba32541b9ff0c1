/** Work that takes long enough to be seen: a light, then a bar with how far it is, and a way to stop it. */

import { iconButton } from './controls';
import { html } from './elements';
import './progress.css';
import type { Task } from './protocol';

const LIGHT_AFTER = 200;
const BAR_AFTER = 2000;

export class Progress {
  readonly element = html('div', { class: 'nbi-progress', hidden: '' });

  // only the name is read aloud: a reader that spoke each step would never fall silent
  private readonly name = html('span', { class: 'nbi-progress-name', role: 'status' });
  private readonly bar = html('progress', { class: 'nbi-progress-bar', hidden: '' });
  private readonly count = html('span', { class: 'nbi-progress-count', 'aria-hidden': 'true', hidden: '' });
  private readonly button: HTMLButtonElement;
  private timers: ReturnType<typeof setTimeout>[] = [];
  private task: Task | null = null;
  private long = false;

  constructor(stop: () => void, signal: AbortSignal) {
    this.button = iconButton('stop', 'Stop', signal, () => {
      // the work ends at its next step: until then the button says that it was heard
      this.button.disabled = true;
      stop();
    });
    this.button.hidden = true;
    const light = html('span', { class: 'nbi-progress-light', 'aria-hidden': 'true' });
    this.element.append(light, this.name, this.bar, this.count, this.button);
    signal.addEventListener('abort', () => this.forget());
  }

  /** Show what is being worked on; null once nothing is. */
  update(task: Task | null): void {
    const before = this.task;
    this.task = task;
    if (task === null) {
      this.forget();
    } else if (before === null) {
      this.timers = [
        setTimeout(() => this.show(), LIGHT_AFTER),
        setTimeout(() => {
          this.long = true;
          this.show();
        }, BAR_AFTER)
      ];
    } else if (!this.element.hidden) {
      this.show();
    }
  }

  private show(): void {
    const { task } = this;
    if (task === null) {
      return;
    }
    this.element.hidden = false;
    if (this.name.textContent !== task.name) {
      this.name.textContent = task.name;
    }
    const known = task.total > 0;
    this.bar.hidden = !this.long;
    this.count.hidden = !this.long || !known;
    this.button.hidden = !this.long || !task.stoppable;
    this.bar.setAttribute('aria-label', task.name);
    if (known) {
      this.bar.max = task.total;
      this.bar.value = Math.min(task.done, task.total);
      this.count.textContent = `${task.done} of ${task.total}`;
    } else {
      this.bar.removeAttribute('value');
    }
  }

  private forget(): void {
    this.timers.forEach(clearTimeout);
    this.timers = [];
    this.long = false;
    // a button that vanishes under the hand leaves the keyboard in the widget, not at the top of the page
    if (this.button.matches(':focus')) {
      this.element.closest<HTMLElement>('.nbinterp-widget')?.focus({ preventScroll: true });
    }
    this.element.hidden = true;
    this.bar.hidden = this.count.hidden = this.button.hidden = true;
    this.button.disabled = false;
    this.name.textContent = '';
  }
}
