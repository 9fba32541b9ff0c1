/** The line above all: what this is, what is being worked on, undo and redo, and taking it away. */

import { iconButton, MenuButton, relabel, TextDialog } from '../../lib/controls';
import { html } from '../../lib/elements';
import { Progress } from '../../lib/progress';
import type { Exported, Task } from '../../lib/protocol';
import { visible } from '../../lib/tokens';
import type { Hand } from './hand';
import type { Moment } from './moment';

const EXPORTS = [
  ['code', 'nnsight code', 'Plain nnsight: it runs without nbinterp.'],
  ['experiment', 'Experiment (Python)', 'The same as an nb.Experiment, to run in a cell.'],
  ['json', 'JSON', 'The experiment as data: nb.Experiment.from_json reads it.'],
  ['html', 'HTML page', 'A page of its own, without a kernel and without the network.']
] as const;

/** The work before an export; nbinterp/widgets/playground/inquiry.py calls it so. */
const COMPLETING = 'computing the curves';

export class Top {
  readonly element = html('div', { class: 'nbi-top-line' });
  readonly dialog: TextDialog;

  private readonly model = html('span', { class: 'nbi-model' });
  private readonly progress: Progress;
  private readonly undoButton: HTMLButtonElement;
  private readonly redoButton: HTMLButtonElement;
  private readonly menu: MenuButton;
  private readonly tools: HTMLElement;
  private task: Task | null = null;
  private exporting: Task | null = null;

  constructor(
    private readonly hand: Hand,
    signal: AbortSignal
  ) {
    this.dialog = new TextDialog(signal);
    this.progress = new Progress(() => void hand.ask('stop'), signal);
    this.undoButton = iconButton('undo', 'Undo', signal, () => this.undo(), { bare: true });
    this.redoButton = iconButton('redo', 'Redo', signal, () => this.redo(), { bare: true });
    const items = EXPORTS.map(([kind, label, note]) => ({ label, run: () => void this.export(kind, label, note) }));
    this.menu = new MenuButton('export', 'Export', () => items, signal);
    this.tools = html('div', { class: 'nbi-tools' }, this.undoButton, this.redoButton, this.menu.element);
    const name = html('p', { class: 'nbi-name' }, html('strong', {}, 'Playground'), this.model);
    this.element.append(name, this.progress.element, this.tools, this.dialog.element);
  }

  undo(): void {
    void this.hand.ask('undo');
  }

  redo(): void {
    void this.hand.ask('redo');
  }

  update(moment: Moment): void {
    const { undo, redo } = moment.timeline;
    this.model.textContent = visible(moment.spec.model);
    this.task = moment.still ? null : moment.task;
    this.showWork();
    this.tools.hidden = moment.still;
    const focused = [this.undoButton, this.redoButton].find(button => button.matches(':focus'));
    this.undoButton.disabled = undo === '';
    this.redoButton.disabled = redo === '';
    relabel(this.undoButton, undo === '' ? 'Undo' : `Undo: ${visible(undo)}`);
    relabel(this.redoButton, redo === '' ? 'Redo' : `Redo: ${visible(redo)}`);
    // the last step was undone: the keyboard goes on beside it
    if (focused?.disabled === true) {
      (focused === this.undoButton ? this.redoButton : this.undoButton).focus();
    }
  }

  /** Let Python compute the curves that are missing; what is stopped is left out. */
  private async completed(): Promise<void> {
    if ((await this.hand.ask('complete')) !== null) {
      await this.hand.until(() => this.hand.task?.name !== COMPLETING);
    }
  }

  private showWork(): void {
    this.progress.update(this.task ?? this.exporting);
  }

  private async export(kind: string, label: string, note: string): Promise<void> {
    if (kind === 'html') {
      await this.completed();
    }
    this.exporting = { name: `writing ${label}`, done: 0, total: 0, stoppable: false };
    this.showWork();
    const exported = await this.hand.ask<Exported>('export', { kind });
    this.exporting = null;
    this.showWork();
    if (exported !== null) {
      this.dialog.show(label, exported, `${note} ${exported.note}`.trim());
    }
  }
}
