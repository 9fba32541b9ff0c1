/** One output of ours: the live widget where the kernel has it, the saved picture where it does not. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Panel } from '@lumino/widgets';
import type { Pictured } from '../lib/picture';
import { HTML, OURS, ourModelId, VIEW } from './ours';

/** JupyterLab's own widget renderer has rank -10; ours asks first. */
const RANK = -20;

/** The outputs of ours in one notebook. */
export class Views {
  private readonly outputs = new Set<Output>();

  constructor(private readonly panel: NotebookPanel) {
    panel.content.rendermime.addFactory(
      {
        // an untrusted notebook gets the saved picture through JupyterLab's sanitiser
        safe: true,
        mimeTypes: [OURS],
        createRenderer: () => {
          const output = new Output(panel);
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

  constructor(private readonly notebook: NotebookPanel) {
    super();
    this.addClass('nbinterp-output');
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
    return this.node.querySelector<Pictured>('.nbinterp-widget')?.nbinterpPicture?.() ?? null;
  }

  private async fill(mimeType: string): Promise<void> {
    const { model } = this;
    if (model === null) {
      return;
    }
    this.live = mimeType === VIEW;
    [...this.widgets].forEach(widget => widget.dispose());
    const renderer = this.notebook.content.rendermime.createRenderer(mimeType);
    this.addWidget(renderer);
    await renderer.renderModel(model);
  }
}
