/** The programs that a graphics card runs for each point, and for each line from a point to its ghost. */

export const VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
layout(location = 0) in vec2 a_from;
layout(location = 1) in vec2 a_to;
layout(location = 2) in vec4 a_paint;
uniform vec2 u_centre;
uniform vec2 u_scale;
uniform float u_t;
uniform float u_size;
uniform int u_pass;
uniform usampler2D u_picked;
flat out vec3 v_colour;
flat out int v_shape;
void main() {
  vec2 place = mix(a_from, a_to, u_t);
  int byte = gl_VertexID >> 3;
  uint bits = u_pass == 0 ? 0u : texelFetch(u_picked, ivec2(byte & 2047, byte >> 11), 0).r;
  bool picked = ((bits >> uint(gl_VertexID & 7)) & 1u) == 1u;
  // passes: 0 all, 1 those that are not picked, 2 those that are, so that these lie on top
  bool shown = (u_pass == 0 || picked == (u_pass == 2)) && !any(isnan(place));
  gl_Position = shown ? vec4((place - u_centre) * u_scale, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
  gl_PointSize = u_size;
  v_colour = a_paint.rgb / 255.0;
  v_shape = int(a_paint.a);
}`;

export const FRAGMENT = `#version 300 es
precision highp float;
flat in vec3 v_colour;
flat in int v_shape;
uniform float u_size;
uniform float u_alpha;
uniform vec3 u_ground;
uniform int u_hollow;
uniform int u_shapes;
out vec4 colour;
float bars(vec2 p) {
  return min(max(p.x - 0.95, p.y - 0.32), max(p.x - 0.32, p.y - 0.95));
}
// the distance to a mark's edge, negative inside, where the mark fills -1 to 1
float edge(vec2 p, int shape) {
  vec2 q = abs(p);
  if (shape == 1) return max(q.x, q.y) - 0.78;
  if (shape == 2) return max(q.x * 0.866 + (p.y - 0.15) * -0.5, p.y - 0.15) - 0.5;
  if (shape == 3) return (q.x + q.y - 1.0) * 0.707;
  if (shape == 4) return bars(q);
  if (shape == 5) return max(q.x * 0.866 + (p.y + 0.15) * 0.5, -p.y - 0.15) - 0.5;
  if (shape == 6) return bars(abs(vec2(p.x + p.y, p.x - p.y)) * 0.707);
  return length(p) - 0.9;
}
void main() {
  if (u_size < 3.0) {
    colour = vec4(v_colour, 1.0) * u_alpha;
    return;
  }
  float radius = 0.5 * u_size;
  float inside = -edge(2.0 * gl_PointCoord - 1.0, u_shapes == 1 ? v_shape : 0) * radius;
  float cover = clamp(inside + 0.5, 0.0, 1.0);
  if (cover <= 0.0) discard;
  vec3 filled = v_colour;
  if (u_hollow == 1) {
    cover *= 1.0 - clamp(inside - 1.2, 0.0, 1.0);
  } else if (u_size >= 8.0) {
    // a thin rim of the ground's colour keeps overlapping marks apart
    filled = mix(mix(v_colour, u_ground, 0.7), v_colour, clamp(inside - 0.4, 0.0, 1.0));
  }
  float alpha = cover * u_alpha;
  colour = vec4(filled * alpha, alpha);
}`;

export const LINE_VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec2 a_place;
uniform vec2 u_centre;
uniform vec2 u_scale;
void main() {
  gl_Position = vec4((a_place - u_centre) * u_scale, 0.0, 1.0);
}`;

export const LINE_FRAGMENT = `#version 300 es
precision highp float;
uniform vec4 u_colour;
out vec4 colour;
void main() {
  colour = vec4(u_colour.rgb * u_colour.a, u_colour.a);
}`;
