/** The points drawn by WebGL2: one buffer a thing, and only what changed is sent to it. */

import type { Bits } from '../selection';
import type { Map2 } from './camera';
import { FRAGMENT, LINE_FRAGMENT, LINE_VERTEX, VERTEX } from './shaders';

export interface Scene {
  /** In CSS pixels of the plot. */
  map: Map2;
  width: number;
  height: number;
  /** Device pixels a CSS pixel. */
  ratio: number;
  from: Float32Array;
  to: Float32Array;
  t: number;
  paint: Uint8Array;
  picked: Bits;
  /** Whether something is picked: the others fade. */
  fade: boolean;
  ghost: Float32Array | null;
  /** Short lines of the picked rows from where they are to their ghosts: `x, y` of both ends. */
  ties: Float32Array | null;
  size: number;
  alpha: number;
  shapes: boolean;
  ground: readonly [number, number, number];
  ink: readonly [number, number, number];
}

/** Bytes of a selection a line of its texture. */
const LINE = 2048;
const ALL = 0;
const UNPICKED = 1;
const PICKED = 2;
const FADED = 0.22;

interface Uploaded {
  gl: WebGL2RenderingContext;
  points: WebGLProgram;
  lines: WebGLProgram;
  uniforms: Record<string, WebGLUniformLocation | null>;
  lineUniforms: Record<string, WebGLUniformLocation | null>;
  places: Map<Float32Array, WebGLBuffer>;
  ties: WebGLBuffer;
  tied: Float32Array | null;
  paint: WebGLBuffer;
  painted: Uint8Array | null;
  texture: WebGLTexture;
  /** What the texture holds, with room up to whole lines. */
  picked: Uint8Array;
}

export class Marks {
  private held: Uploaded | null = null;
  private readonly loser: WEBGL_lose_context | null = null;

  /** `changed` is called when the context was lost, or came back. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly n: number,
    changed: () => void,
    signal: AbortSignal
  ) {
    const gl = canvas.getContext('webgl2', {
      antialias: false,
      premultipliedAlpha: true,
      powerPreference: 'low-power'
    });
    if (gl === null) {
      return;
    }
    this.loser = gl.getExtension('WEBGL_lose_context');
    canvas.addEventListener(
      'webglcontextlost',
      event => {
        // without this it would never come back
        event.preventDefault();
        this.held = null;
        changed();
      },
      { signal }
    );
    canvas.addEventListener(
      'webglcontextrestored',
      () => {
        this.held = start(gl, n);
        changed();
      },
      { signal }
    );
    this.held = start(gl, n);
    signal.addEventListener('abort', () => {
      this.held = null;
      // a page may hold only about 16 contexts, and collects the old ones late
      this.loser?.loseContext();
    });
  }

  /** Whether it can draw now. */
  get alive(): boolean {
    return this.held !== null;
  }

  draw(scene: Scene): void {
    const held = this.held;
    if (held === null) {
      return;
    }
    const { gl } = held;
    const width = Math.max(1, Math.round(scene.width * scene.ratio));
    const height = Math.max(1, Math.round(scene.height * scene.ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.upload(held, scene);
    // the middle of the view is subtracted before anything is scaled: float32 stays exact where one has zoomed in
    const centre = [(scene.width / 2 - scene.map.ox) / scene.map.sx, (scene.height / 2 - scene.map.oy) / scene.map.sy];
    const scale = [(2 * scene.map.sx) / scene.width, (-2 * scene.map.sy) / scene.height];

    if (scene.ghost !== null && scene.ties !== null && scene.ties.length > 0) {
      gl.useProgram(held.lines);
      gl.uniform2f(held.lineUniforms.u_centre ?? null, centre[0] ?? 0, centre[1] ?? 0);
      gl.uniform2f(held.lineUniforms.u_scale ?? null, scale[0] ?? 1, scale[1] ?? 1);
      const faint = Math.max(0.12, Math.min(0.6, 60 / scene.ties.length));
      gl.uniform4f(held.lineUniforms.u_colour ?? null, ...scene.ink, faint);
      gl.bindBuffer(gl.ARRAY_BUFFER, held.ties);
      gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
      gl.enableVertexAttribArray(0);
      gl.drawArrays(gl.LINES, 0, scene.ties.length / 2);
    }

    gl.useProgram(held.points);
    const { uniforms } = held;
    gl.uniform2f(uniforms.u_centre ?? null, centre[0] ?? 0, centre[1] ?? 0);
    gl.uniform2f(uniforms.u_scale ?? null, scale[0] ?? 1, scale[1] ?? 1);
    gl.uniform1i(uniforms.u_shapes ?? null, scene.shapes ? 1 : 0);
    gl.uniform3f(uniforms.u_ground ?? null, ...scene.ground);
    gl.uniform1i(uniforms.u_picked ?? null, 0);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, held.texture);
    gl.bindBuffer(gl.ARRAY_BUFFER, held.paint);
    gl.vertexAttribPointer(2, 4, gl.UNSIGNED_BYTE, false, 0, 0);
    gl.enableVertexAttribArray(2);
    if (scene.ghost !== null) {
      this.pass(held, scene.ghost, scene.ghost, 0, scene, true);
    }
    this.pass(held, scene.from, scene.to, scene.t, scene, false);
  }

  /** Call `done` with the milliseconds that what was drawn last took, once it is drawn. */
  measure(began: number, done: (milliseconds: number) => void): void {
    const gl = this.held?.gl;
    const fence = gl?.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0) ?? null;
    if (gl === undefined || fence === null) {
      return;
    }
    gl.flush();
    const look = (): void => {
      if (gl.isContextLost()) {
        return;
      }
      if (gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.SIGNALED) {
        gl.deleteSync(fence);
        done(performance.now() - began);
      } else {
        setTimeout(look, 2);
      }
    };
    setTimeout(look, 0);
  }

  private pass(held: Uploaded, from: Float32Array, to: Float32Array, t: number, scene: Scene, hollow: boolean): void {
    const { gl, uniforms } = held;
    [from, to].forEach((array, place) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, held.places.get(array) ?? null);
      gl.vertexAttribPointer(place, 2, gl.FLOAT, false, 0, 0);
      gl.enableVertexAttribArray(place);
    });
    gl.uniform1f(uniforms.u_t ?? null, t);
    gl.uniform1i(uniforms.u_hollow ?? null, hollow ? 1 : 0);
    const one = (pass: number, alpha: number, size: number): void => {
      gl.uniform1i(uniforms.u_pass ?? null, pass);
      gl.uniform1f(uniforms.u_alpha ?? null, alpha);
      gl.uniform1f(uniforms.u_size ?? null, size * scene.ratio);
      gl.drawArrays(gl.POINTS, 0, Math.min(this.n, to.length >> 1));
    };
    const alpha = hollow ? Math.max(0.5, scene.alpha) : scene.alpha;
    const size = hollow ? Math.max(4, scene.size) : scene.size;
    if (scene.fade) {
      one(UNPICKED, alpha * FADED, size);
      one(PICKED, Math.min(1, alpha * 1.3), size * 1.15);
    } else {
      one(ALL, alpha, size);
    }
  }

  private upload(held: Uploaded, scene: Scene): void {
    const { gl } = held;
    const wanted = new Set([scene.from, scene.to, ...(scene.ghost === null ? [] : [scene.ghost])]);
    const spare = [...held.places].filter(([array]) => !wanted.has(array));
    for (const array of wanted) {
      if (!held.places.has(array)) {
        const [old, buffer] = spare.pop() ?? [null, gl.createBuffer()];
        if (old !== null) {
          held.places.delete(old);
        }
        held.places.set(array, buffer);
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
      }
    }
    if (held.painted !== scene.paint) {
      held.painted = scene.paint;
      gl.bindBuffer(gl.ARRAY_BUFFER, held.paint);
      gl.bufferData(gl.ARRAY_BUFFER, scene.paint, gl.DYNAMIC_DRAW);
    }
    if (scene.ties !== null && held.tied !== scene.ties) {
      held.tied = scene.ties;
      gl.bindBuffer(gl.ARRAY_BUFFER, held.ties);
      gl.bufferData(gl.ARRAY_BUFFER, scene.ties, gl.DYNAMIC_DRAW);
    }
    this.uploadPicked(held, scene.picked);
  }

  /** Send the lines of the selection's texture that changed. */
  private uploadPicked(held: Uploaded, bits: Bits): void {
    const { gl, picked } = held;
    gl.bindTexture(gl.TEXTURE_2D, held.texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    for (let line = 0; line * LINE < picked.length; line += 1) {
      let changed = false;
      for (let at = line * LINE; at < (line + 1) * LINE; at += 1) {
        const byte = bits[at] ?? 0;
        if (picked[at] !== byte) {
          picked[at] = byte;
          changed = true;
        }
      }
      if (changed) {
        const part = picked.subarray(line * LINE, (line + 1) * LINE);
        gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, line, LINE, 1, gl.RED_INTEGER, gl.UNSIGNED_BYTE, part);
      }
    }
  }
}

function start(gl: WebGL2RenderingContext, n: number): Uploaded | null {
  const points = program(gl, VERTEX, FRAGMENT);
  const lines = program(gl, LINE_VERTEX, LINE_FRAGMENT);
  if (points === null || lines === null) {
    return null;
  }
  const find = (of: WebGLProgram, names: readonly string[]): Record<string, WebGLUniformLocation | null> =>
    Object.fromEntries(names.map(name => [name, gl.getUniformLocation(of, name)]));
  const texture = gl.createTexture();
  const height = Math.max(1, Math.ceil(n / 8 / LINE));
  const picked = new Uint8Array(LINE * height);
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, LINE, height, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, picked);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  const known = ['u_centre', 'u_scale', 'u_t', 'u_size', 'u_alpha', 'u_pass', 'u_hollow', 'u_shapes', 'u_ground'];
  return {
    gl,
    points,
    lines,
    uniforms: find(points, [...known, 'u_picked']),
    lineUniforms: find(lines, ['u_centre', 'u_scale', 'u_colour']),
    places: new Map(),
    ties: gl.createBuffer(),
    tied: null,
    paint: gl.createBuffer(),
    painted: null,
    texture,
    picked
  };
}

function program(gl: WebGL2RenderingContext, vertex: string, fragment: string): WebGLProgram | null {
  const made = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment]
  ] as const) {
    const shader = gl.createShader(kind);
    if (shader === null) {
      return null;
    }
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
    // it lives on as long as the program does
    gl.deleteShader(shader);
  }
  gl.linkProgram(made);
  return gl.getProgramParameter(made, gl.LINK_STATUS) === true ? made : null;
}
