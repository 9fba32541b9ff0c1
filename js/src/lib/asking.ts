/** Questions to Python that are answered at once; the Python side is nbinterp/widgets/asking.py. */

import type { AnyModel } from '@anywidget/types';

export interface Reply {
  reply: number;
  /** What went wrong, in a sentence; empty where nothing did. */
  problem: string;
}

type Waiting = (reply: Reply, buffers: DataView[]) => void;

// all views of one model hear all replies, also those in another window: numbers start anywhere
let questions = Math.floor(Math.random() * 2 ** 40);

export class Asking {
  private readonly waiting = new Map<number, Waiting>();

  constructor(
    private readonly model: AnyModel,
    signal: AbortSignal
  ) {
    const hear = (message: Partial<Reply>, buffers: DataView[]): void => {
      const { reply } = message;
      if (reply !== undefined) {
        this.waiting.get(reply)?.(message as Reply, buffers);
        this.waiting.delete(reply);
      }
    };
    model.on('msg:custom', hear);
    signal.addEventListener('abort', () => {
      model.off('msg:custom', hear);
      this.waiting.clear();
    });
  }

  /** Ask; what Python raised rejects the promise with its sentence. Without a kernel no answer ever comes. */
  ask<T extends object>(what: string, details: object = {}): Promise<T & Reply & { buffers: DataView[] }> {
    const ask = (questions += 1);
    const answer = new Promise<T & Reply & { buffers: DataView[] }>((resolve, reject) => {
      this.waiting.set(ask, (reply, buffers) => {
        if (reply.problem === '') {
          resolve({ ...(reply as T & Reply), buffers });
        } else {
          reject(new Error(reply.problem));
        }
      });
    });
    this.model.send({ ...details, ask, what });
    return answer;
  }
}
