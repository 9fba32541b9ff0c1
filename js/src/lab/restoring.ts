/** What a cell's widget showed last, for the widget that is made anew in it after its kernel has gone. */

import type { ICodeCellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { PartialJSONObject } from '@lumino/coreutils';
import type { Pictured } from '../lib/picture';
import { keptState, ourModelId, type Kept } from './ours';

interface Remembered {
  modelId: string;
  kept: Kept;
  /** Which of the notebook's kernels it belonged to. */
  life: number;
}

/** What comes from the file belonged to a kernel that may be any. */
export const FROM_FILE = -1;

export class Memory {
  private readonly cells = new Map<string, Remembered>();

  /** Grows whenever the notebook gets another kernel, or its own starts again. */
  life = 0;

  constructor(private readonly panel: NotebookPanel) {
    const { sessionContext } = panel;
    sessionContext.kernelChanged.connect(() => (this.life += 1));
    sessionContext.statusChanged.connect((_, status) => {
      this.life += Number(status === 'restarting' || status === 'autorestarting');
    });
    // JupyterLab draws only the cells that are seen: the others are remembered from the file
    void panel.context.ready.then(() => {
      for (const cell of panel.content.model?.cells ?? []) {
        if (cell.type === 'code') {
          for (const output of (cell as ICodeCellModel).sharedModel.getOutputs()) {
            const data = output.data as PartialJSONObject | undefined;
            this.remember(cell.id, ourModelId(data), keptState(data), FROM_FILE);
          }
        }
      }
    });
  }

  remember(cell: string | null, modelId: string | null, kept: Kept | null, life: number): void {
    if (cell !== null && modelId !== null && kept !== null && kept.origin !== '') {
      this.cells.set(cell, { modelId, kept, life });
    }
  }

  /** Hand a new view what the one before showed, if that one is dead and began as this one does. */
  async restore(cell: string, modelId: string, origin: string, root: Pictured): Promise<void> {
    const before = this.cells.get(cell);
    const kernel = this.panel.sessionContext.session?.kernel;
    if (before === undefined || before.modelId === modelId || before.kept.origin !== origin || !kernel) {
      return;
    }
    // a widget that this very kernel has closed began anew, and so does the next one
    if (before.life === this.life) {
      return;
    }
    this.cells.delete(cell);
    const reply = await kernel.requestCommInfo({ target_name: 'jupyter.widget' });
    // where the old widget still lives, the cell was run again to begin anew
    const gone = reply.content.status === 'ok' && !(before.modelId in reply.content.comms);
    // while the kernel thought about it, the view may have been closed
    if (gone && root.isConnected) {
      root.nbinterpRestore?.({ ...before.kept.state });
    }
  }
}
