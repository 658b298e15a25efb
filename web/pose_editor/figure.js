/**
 * A figure as numbers: reading and writing the node's text, and everything that changes a pose.
 *
 * A figure is `{ points, hands }` in pixels of a frame `{ height, width }`: 18 points
 * `{ x, y, shown }`, and for the left and the right hand 21 points or null. Functions return new
 * figures and leave the given one as it is.
 */

/** Joint that each joint hangs on; the neck carries all. Order as in the tables' `joints`. */
export const PARENT = [1, -1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15]
export const NECK = 1
/** Wrists carry the hands, left hand first as in the text. */
const WRIST_OF_HAND = [7, 4]
const HAND_KEYS = ['hand_left_keypoints_2d', 'hand_right_keypoints_2d']
const BODY_25_TO_18 = [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]
const LARGEST_NUMBER = 1e9 // as the pack's reader decides, and the next
const LARGEST_FRACTION = 2 // coordinates above it are pixels

/**
 * The figure of a document's person on a frame, or null where this script cannot read it (the node
 * reads more dialects than this does).
 *
 * @param number of the person in the document.
 * @param farthest pictures that a joint may lie away, beyond which the node refuses a text.
 */
export function parse(document, number, frame, standing, farthest) {
  const person = document?.people?.[number]
  const points = bodyOf(person)
  if (!points) return null
  const hands = HAND_KEYS.map((key) => {
    const points = triples(person[key])
    return points?.length === 21 && points.some((point) => point.shown) ? points : null
  })
  const canvas = canvasOf(document, frame)
  if (!canvas) return null
  const figure = { points, hands }
  const seen = figure.points.filter((point) => point.shown)
  const fractions = seen.every(({ x, y }) => Math.max(x, y) <= LARGEST_FRACTION)
  const scale = fractions ? canvas : { height: 1, width: 1 }
  const pixels = map(figure, ({ x, y }) => ({ x: x * scale.width, y: y * scale.height }))
  const away = ({ x, y }) => Math.max(Math.abs(x) / canvas.width, Math.abs(y) / canvas.height)
  if (pixels.points.some((point) => point.shown && away(point) > farthest)) return null
  return refit(placeMissing(pixels, standing), canvas, frame)
}

/** A document's person: hidden joints keep their place, with confidence 0. */
export function writePerson(figure) {
  const flat = (points) => points.flatMap(({ x, y, shown }) => [round(x), round(y), shown ? 1 : 0])
  const person = { pose_keypoints_2d: flat(figure.points) }
  figure.hands.forEach((hand, side) => {
    if (hand) person[HAND_KEYS[side]] = flat(hand)
  })
  return person
}

/** The figure on another frame: whole, centred, not squashed. */
export function refit(figure, from, to) {
  const scale = Math.min(to.height / from.height, to.width / from.width)
  const left = (to.width - from.width * scale) / 2
  const top = (to.height - from.height * scale) / 2
  return map(figure, ({ x, y }) => ({ x: x * scale + left, y: y * scale + top }))
}

/** As in a mirror: left and right change sides, and the joints change names with them. */
export function mirrored(figure, frame, mirror) {
  const flipped = map(figure, ({ x, y }) => ({ x: frame.width - x, y }))
  return {
    points: flipped.points.map((_, joint) => flipped.points[mirror[joint]]),
    hands: [flipped.hands[1], flipped.hands[0]]
  }
}

/** One joint in another place of the frame; a hidden joint comes into view. */
export function moved(figure, joint, place, frame) {
  const before = figure.points[joint]
  const after = { ...within(place, frame, -1), shown: true } // 0, 0 would be a missing joint
  const points = figure.points.map((point, other) => (other === joint ? after : point))
  return { points, hands: carryHands(figure.hands, joint, after.x - before.x, after.y - before.y) }
}

/** A limb turned about the joint that it hangs on: lengths stay. The neck moves all of it. */
export function turned(figure, joint, place, frame) {
  const pivot = figure.points[PARENT[joint]]
  const from = figure.points[joint]
  if (!pivot) return shifted(figure, place.x - from.x, place.y - from.y)
  const angle =
    Math.atan2(place.y - pivot.y, place.x - pivot.x) - Math.atan2(from.y - pivot.y, from.x - pivot.x)
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const rotate = ({ x, y }) => ({
    x: pivot.x + (x - pivot.x) * cos - (y - pivot.y) * sin,
    y: pivot.y + (x - pivot.x) * sin + (y - pivot.y) * cos
  })
  // Limbs keep their lengths beyond the frame too, but not so far that they cannot be found again.
  const far = 0.25 * Math.max(frame.height, frame.width)
  const turn = (point) => ({ ...point, ...within(rotate(point), frame, far) })
  const limb = below(joint)
  return {
    points: figure.points.map((point, other) => (limb.has(other) ? turn(point) : point)),
    hands: figure.hands.map((hand, side) =>
      hand && limb.has(WRIST_OF_HAND[side]) ? hand.map(turn) : hand
    )
  }
}

/** The whole figure moved. */
export function shifted(figure, dx, dy) {
  return map(figure, ({ x, y }) => ({ x: x + dx, y: y + dy }))
}

/** The whole figure larger or smaller about its middle. */
export function scaled(figure, factor) {
  const { x: left, y: top, width, height } = bounds(figure)
  const [cx, cy] = [left + width / 2, top + height / 2]
  return map(figure, ({ x, y }) => ({ x: cx + (x - cx) * factor, y: cy + (y - cy) * factor }))
}

/** One joint hidden or shown; the last one in view stays. */
export function toggled(figure, joint) {
  const shown = !figure.points[joint].shown
  if (!shown && figure.points.filter((point) => point.shown).length === 1) return figure
  const points = figure.points.map((p, other) => (other === joint ? { ...p, shown } : p))
  const hands = figure.hands.map((hand, side) =>
    !shown && WRIST_OF_HAND[side] === joint ? null : hand
  )
  return { points, hands }
}

/** The joints that lie outside the frame, which the node takes as missing. */
export function jointsOutside(figure, frame) {
  const isOutside = (point) => point.shown && !isInside(point, frame)
  return figure.points.flatMap((point, joint) => (isOutside(point) ? [joint] : []))
}

/** All joints inside the frame: a figure that is nowhere in it as a whole, others joint by joint. */
export function bringBack(figure, frame) {
  let back = figure
  if (jointsOutside(figure, frame).length === figure.points.filter(({ shown }) => shown).length) {
    const { x, y, width, height } = bounds(figure)
    const way = (from, length, side) =>
      length > side ? (side - length) / 2 - from : Math.min(Math.max(from, 0), side - length) - from
    back = shifted(figure, way(x, width, frame.width), way(y, height, frame.height))
  }
  for (const joint of jointsOutside(back, frame)) {
    back = moved(back, joint, back.points[joint], frame)
  }
  return back
}

/** The box round the joints in view. */
export function bounds(figure) {
  const seen = figure.points.filter((point) => point.shown)
  const [xs, ys] = [seen.map((point) => point.x), seen.map((point) => point.y)]
  const [x, y] = [Math.min(...xs), Math.min(...ys)]
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y }
}

export function isInside({ x, y }, frame) {
  return x >= 0 && y >= 0 && x <= frame.width && y <= frame.height
}

function below(joint) {
  const limb = new Set([joint])
  for (let round = 0; round < 3; round++) {
    PARENT.forEach((parent, child) => limb.has(parent) && limb.add(child))
  }
  return limb
}

function carryHands(hands, joint, dx, dy) {
  return hands.map((hand, side) =>
    hand && WRIST_OF_HAND[side] === joint
      ? hand.map((point) => ({ ...point, x: point.x + dx, y: point.y + dy }))
      : hand
  )
}

function map(figure, change) {
  const all = (points) => points.map((point) => ({ ...point, ...change(point) }))
  return { points: all(figure.points), hands: figure.hands.map((hand) => hand && all(hand)) }
}

/** The nearest place in a frame that is larger by so many pixels on every side. */
function within({ x, y }, frame, beyond) {
  const clamp = (value, size) => Math.min(Math.max(value, -beyond), size + beyond)
  return { x: clamp(x, frame.width), y: clamp(y, frame.height) }
}

/** The canvas that a document names, the frame where it names none, or null for one that is none. */
function canvasOf(document, frame) {
  for (const [height, width] of [
    [document.canvas_height, document.canvas_width],
    [document.height, document.width]
  ]) {
    if (height == null && width == null) continue
    const isSide = (side) => Number.isFinite(side) && side >= 1 && side <= LARGEST_NUMBER
    return isSide(height) && isSide(width) ? { height, width } : null
  }
  return frame
}

/** Joints that a detector did not find get a likely place, so that they can be brought into view. */
function placeMissing(figure, standing) {
  const lost = figure.points.map(({ x, y, shown }) => !shown && x === 0 && y === 0)
  if (!lost.includes(true)) return figure
  const seen = figure.points.filter((point) => point.shown)
  const twins = standing.points.filter((_, joint) => figure.points[joint].shown)
  const spread = (points, axis) =>
    Math.max(...points.map((p) => p[axis])) - Math.min(...points.map((p) => p[axis]))
  const size = spread(twins, 'y') > 1 ? spread(seen, 'y') / spread(twins, 'y') : 1
  const centre = (points, axis) => points.reduce((sum, p) => sum + p[axis], 0) / points.length
  const points = figure.points.map((point) => ({ ...point }))
  const place = (joint) => {
    if (!lost[joint]) return
    lost[joint] = false
    const parent = PARENT[joint]
    const [own, other] = [standing.points[joint], standing.points[parent]]
    if (parent >= 0) {
      place(parent)
      points[joint].x = points[parent].x + (own.x - other.x) * size
      points[joint].y = points[parent].y + (own.y - other.y) * size
    } else {
      points[joint].x = centre(seen, 'x') + (own.x - centre(twins, 'x')) * size
      points[joint].y = centre(seen, 'y') + (own.y - centre(twins, 'y')) * size
    }
  }
  points.forEach((_, joint) => place(joint))
  return { ...figure, points }
}

function triples(values) {
  if (!Array.isArray(values) || !values.length || values.length % 3) return null
  const points = []
  for (let start = 0; start < values.length; start += 3) {
    const [x, y, confidence] = values.slice(start, start + 3).map((value) => value ?? -1)
    if (![x, y, confidence].every(Number.isFinite)) return null
    points.push({ x, y, shown: confidence > 0 && (x !== 0 || y !== 0) })
  }
  return points.length === 25 ? BODY_25_TO_18.map((joint) => points[joint]) : points
}

/** The 18 points of a document's person, or null where this script cannot read them. */
export function bodyOf(person) {
  const points = triples(person?.pose_keypoints_2d)
  return points?.length === 18 && points.some((point) => point.shown) ? points : null
}

/** Number of the person whose joints span the largest box; -1 where nobody is readable. */
export function largest(people) {
  let [best, area] = [-1, -1]
  people.map(bodyOf).forEach((points, index) => {
    if (!points) return
    const { width, height } = bounds({ points })
    const size = (width + 1e-3) * (height + 1e-3)
    if (size > area) [best, area] = [index, size]
  })
  return best
}

function round(value) {
  return Math.round(value * 10) / 10
}

/** A figure from the flat numbers of the library. */
export function fromValues(values) {
  return { points: triples(values), hands: [null, null] }
}
