/** One output of ours: the live widget where the kernel has it, the saved picture where it does not. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { Message } from '@lumino/messaging';
import { Panel, Widget } from '@lumino/widgets';
import type { Pictured } from '../lib/picture';
import { HTML, keptState, OURS, ourModelId, VIEW, type Kept } from './ours';
import { FROM_FILE, Memory } from './restoring';
import { drawStill } from './still';

/** JupyterLab's own widget renderer has rank -10; ours asks first. */
const RANK = -20;

/** The outputs of ours in one notebook. */
export class Views {
  private readonly outputs = new Set<Output>();

  constructor(private readonly panel: NotebookPanel) {
    const memory = new Memory(panel);
    panel.content.rendermime.addFactory(
      {
        // an untrusted notebook gets the saved picture through JupyterLab's sanitiser
        safe: true,
        mimeTypes: [OURS],
        createRenderer: () => {
          const output = new Output(panel, memory);
          this.outputs.add(output);
          output.disposed.connect(() => this.outputs.delete(output));
          return output;
        }
      },
      RANK
    );
    // a kernel that was not there when the notebook opened may hold the models
    panel.sessionContext.kernelChanged.connect(() => this.lookAgain());
    void panel.sessionContext.ready.then(() => this.lookAgain());
  }

  /** The latest picture of each live view, by the id of its widget model. */
  pictures(): Map<string, string> {
    const pictures = new Map<string, string>();
    for (const output of this.outputs) {
      const picture = output.picture();
      if (output.modelId !== null && picture !== null) {
        pictures.set(output.modelId, picture);
      }
    }
    return pictures;
  }

  /** The latest state of each live view, by the id of its widget model. */
  states(): Map<string, Kept> {
    const live = [...this.outputs].flatMap(output => {
      const kept = output.state();
      return output.modelId === null || kept === null ? [] : [[output.modelId, kept] as const];
    });
    return new Map(live);
  }

  private lookAgain(): void {
    if (!this.panel.isDisposed) {
      this.outputs.forEach(output => void output.wake());
    }
  }
}

class Output extends Panel implements IRenderMime.IRenderer {
  modelId: string | null = null;
  private model: IRenderMime.IMimeModel | null = null;
  private live = false;
  private cell: string | null = null;
  /** In which of the notebook's kernels the widget lives or lived. */
  private life = FROM_FILE;
  /** Ends the still view that is shown. */
  private stillness: AbortController | null = null;

  constructor(
    private readonly notebook: NotebookPanel,
    private readonly memory: Memory
  ) {
    super();
    this.addClass('nbinterp-output');
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.memory.remember(this.cell, this.modelId, this.state() ?? keptState(this.model?.data), this.life);
      this.stillness?.abort();
    }
    super.dispose();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    const cell = this.notebook.content.widgets.find(candidate => candidate.node.contains(this.node));
    this.cell = cell?.model.id ?? this.cell;
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.model = model;
    this.modelId = ourModelId(model.data);
    this.live = false;
    const kernel = this.notebook.sessionContext.session?.kernel;
    if (model.trusted && this.modelId !== null && kernel?.hasComm(this.modelId)) {
      await this.fill(VIEW);
    } else {
      await this.fill(HTML in model.data ? HTML : 'text/plain');
      await this.wake();
      await this.drawStill();
    }
  }

  /** Where no kernel answers, what the notebook keeps of the widget's state can still be looked at from all sides. */
  private async drawStill(): Promise<void> {
    const { model } = this;
    const kept = keptState(model?.data);
    // a stranger's notebook shows its picture only, through JupyterLab's sanitiser
    if (this.live || model === null || !model.trusted || kept === null) {
      return;
    }
    const stillness = new AbortController();
    try {
      const node = await drawStill(kept, stillness.signal);
      if (this.isWaitingFor(model)) {
        this.clear();
        this.addWidget(new Widget({ node }));
        this.stillness = stillness;
      } else {
        stillness.abort();
      }
    } catch {
      // the picture stays
      stillness.abort();
    }
  }

  /** What the live view shows now, as the notebook keeps it. */
  state(): Kept | null {
    const before = keptState(this.model?.data);
    const now = this.live ? this.root?.nbinterpState?.() : undefined;
    return before === null || now === undefined ? null : { ...before, state: now as Kept['state'] };
  }

  private get root(): Pictured | null {
    return this.node.querySelector<Pictured>('.nbinterp-widget');
  }

  private clear(): void {
    this.stillness?.abort();
    this.stillness = null;
    [...this.widgets].forEach(widget => widget.dispose());
  }

  /** Once the live view is there, let it take up what the cell showed before its kernel went. */
  private restore(): void {
    const { cell, modelId, model } = this;
    const origin = keptState(model?.data)?.origin ?? '';
    if (cell === null || modelId === null || origin === '') {
      return;
    }
    const look = (): boolean => {
      const { root } = this;
      if (root?.nbinterpRestore !== undefined) {
        void this.memory.restore(cell, modelId, origin, root);
      }
      return root?.nbinterpRestore !== undefined;
    };
    if (!look()) {
      const growing = new MutationObserver(() => {
        if (look()) {
          growing.disconnect();
        }
      });
      growing.observe(this.node, { childList: true, subtree: true });
      this.disposed.connect(() => growing.disconnect());
    }
  }

  /** Show the live widget if the kernel has its model after all, for instance after a reload of the page. */
  async wake(): Promise<void> {
    const kernel = this.notebook.sessionContext.session?.kernel;
    const { model, modelId } = this;
    if (this.live || !kernel || !model?.trusted || modelId === null) {
      return;
    }
    const reply = await kernel.requestCommInfo({ target_name: 'jupyter.widget' });
    const alive = reply.content.status === 'ok' && modelId in reply.content.comms;
    // while the kernel thought about it, the output may have gone or changed
    if (alive && this.isWaitingFor(model)) {
      await this.fill(VIEW);
    }
  }

  private isWaitingFor(model: IRenderMime.IMimeModel): boolean {
    return model === this.model && !this.live && !this.isDisposed;
  }

  picture(): string | null {
    // a still view has changed nothing that would have to be saved
    return this.live ? (this.root?.nbinterpPicture?.() ?? null) : null;
  }

  private async fill(mimeType: string): Promise<void> {
    const { model } = this;
    if (model === null) {
      return;
    }
    this.live = mimeType === VIEW;
    this.life = this.live ? this.memory.life : this.life;
    this.clear();
    const renderer = this.notebook.content.rendermime.createRenderer(mimeType);
    this.addWidget(renderer);
    await renderer.renderModel(model);
    if (this.live) {
      this.restore();
    }
  }
}
