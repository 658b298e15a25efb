/** Where the frame lies on the canvas, and what lies under the pointer. Lengths in CSS pixels. */

const MARGIN = 14
const [JOINT_REACH, LIMB_REACH] = [13, 6]

/** The whole frame in the middle of a canvas: `{ left, top, scale }`. */
export function seeAll(size, frame) {
  const room = { width: size.width - 2 * MARGIN, height: size.height - 2 * MARGIN }
  const scale = Math.max(Math.min(room.width / frame.width, room.height / frame.height), 0.01)
  return {
    left: (size.width - frame.width * scale) / 2,
    top: (size.height - frame.height * scale) / 2,
    scale
  }
}

/** The zoom at which a frame and points round it are seen, those up to half a frame away. */
export function seeAround(size, frame, points) {
  const span = (axis, side) => {
    const places = points.map((point) => Math.min(Math.max(point[axis], -side / 2), side * 1.5))
    return [Math.min(0, ...places), Math.max(side, ...places)]
  }
  const [[left, right], [top, bottom]] = [span('x', frame.width), span('y', frame.height)]
  const near = seeAll(size, frame)
  const far = seeAll(size, { width: right - left, height: bottom - top })
  const factor = far.scale / near.scale
  return {
    factor,
    x: far.left - left * far.scale - near.left * factor,
    y: far.top - top * far.scale - near.top * factor
  }
}

/** A view enlarged by `factor` about the canvas's corner and moved by x and y. */
export function zoomed({ left, top, scale }, { factor, x, y }) {
  return { left: left * factor + x, top: top * factor + y, scale: scale * factor }
}

export function toFrame({ left, top, scale }, { x, y }) {
  return { x: (x - left) / scale, y: (y - top) / scale }
}

export function nearTo(a, b, reach) {
  return Math.hypot(a.x - b.x, a.y - b.y) <= reach
}

/** The nearest joint within reach, or null; one in view wins over a hidden one close by. */
export function hitJoint(figure, view, at) {
  let [best, least] = [null, JOINT_REACH]
  figure.points.forEach(({ x, y, shown }, joint) => {
    const distance = Math.hypot(view.left + x * view.scale - at.x, view.top + y * view.scale - at.y)
    const cost = distance + (shown ? 0 : 3)
    if (distance <= JOINT_REACH && cost < least) [best, least] = [joint, cost]
  })
  return best
}

/** Whether a drawn limb lies under the pointer. */
export function hitLimb(figure, limbs, view, at) {
  const point = toFrame(view, at)
  return limbs.some(([a, b]) => {
    const [start, end] = [figure.points[a], figure.points[b]]
    if (!start.shown || !end.shown) return false
    const [dx, dy] = [end.x - start.x, end.y - start.y]
    const along = ((point.x - start.x) * dx + (point.y - start.y) * dy) / (dx * dx + dy * dy || 1)
    const share = Math.min(Math.max(along, 0), 1)
    const foot = { x: start.x + share * dx, y: start.y + share * dy }
    return nearTo(point, foot, LIMB_REACH / view.scale)
  })
}
