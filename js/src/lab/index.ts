/** The JupyterLab extension: outputs that outlive their kernel, and show what was seen last. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { keepPictures } from './saving';
import { Views } from './views';

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'nbinterp:saved-views',
  description: 'Keeps the pictures of nbinterp widgets in the notebook and shows them where no kernel runs.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (_: JupyterFrontEnd, tracker: INotebookTracker) => {
    const attend = (panel: NotebookPanel): void => keepPictures(panel, new Views(panel));
    tracker.forEach(attend);
    tracker.widgetAdded.connect((_sender, panel) => attend(panel));
  }
};

export default plugin;
