/** The one place from which the page changes what it shares with Python. */

import type { Asking } from '../../lib/asking';
import type { Setting, Task } from '../../lib/protocol';
import { changeSelection, type Selected } from '../../lib/selection';
import { isStill } from '../../lib/still';
import { changeValue, next, type Edit } from './edits';
import type { PlaygroundModel } from './moment';

export class Hand {
  /** Without Python: the setting whose answer and curves were stored. */
  private readonly stored: Setting | null;

  constructor(
    private readonly model: PlaygroundModel,
    private readonly asking: Asking,
    /** Send what was set: once a frame. */
    private readonly save: () => void,
    private readonly trouble: (sentence: string) => void,
    private readonly signal: AbortSignal
  ) {
    this.stored = isStill(model) ? model.get('setting') : null;
  }

  get setting(): Setting {
    return this.model.get('setting');
  }

  /** Change the setting; `gestureStart` is false for what continues a drag. */
  edit(edit: Edit, gestureStart = true): void {
    const before = this.setting;
    const after = this.stored === null ? next(before, edit, gestureStart) : this.fromStored(this.stored, edit);
    if (after !== before) {
      this.model.set('setting', after);
      this.save();
    }
  }

  /** A stored curve is true while all else stands as it was stored: moving one slider puts the others back. */
  private fromStored(stored: Setting, edit: Edit): Setting {
    const now = this.setting;
    const { hand, parameter, acts } = edit(now);
    const value = acts.find(act => act.id === hand)?.values[parameter];
    const first = stored.acts.find(act => act.id === hand)?.values[parameter];
    if (value === undefined || first === undefined) {
      return now;
    }
    const moved = changeValue(hand, parameter, value)({ ...stored, hand, parameter });
    return { ...moved, moment: value === first ? stored.moment : now.moment + 1 };
  }

  /** Pick tokens, layers or heads, here and in whatever else is linked. */
  pick(change: Partial<Pick<Selected, 'tokens' | 'layers' | 'heads'>>): void {
    changeSelection(this.model, change);
    this.save();
  }

  get task(): Task | null {
    const task = this.model.get('task');
    // Python may say "nothing" with an empty dictionary
    return task !== null && 'name' in task ? task : null;
  }

  /** Wait until the work that Python shows is such; a view that is closed waits no longer. */
  until(reached: () => boolean): Promise<void> {
    return new Promise(resolve => {
      const look = (): void => {
        if (reached()) {
          this.model.off('change:task', look);
          resolve();
        }
      };
      this.model.on('change:task', look);
      this.signal.addEventListener('abort', () => this.model.off('change:task', look));
      look();
    });
  }

  /** Ask Python; what goes wrong is shown as the widget's problem, and gives null. */
  async ask<T extends object>(what: string, details: object = {}): Promise<T | null> {
    try {
      // Python first hears of what the hand has just changed
      this.model.save_changes();
      return await this.asking.ask<T>(what, details);
    } catch (error) {
      this.trouble(error instanceof Error ? error.message : String(error));
      return null;
    }
  }
}
