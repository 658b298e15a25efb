/** Draws figures on a 2D context, in the published colours. */

import { isInside } from './figure.js'

const FACE = new Set([0, 14, 15, 16, 17])
const OUTLINE = 'rgba(0, 0, 0, 0.75)'
const RIM = 'rgba(255, 255, 255, 0.7)' // parts the blue joints from the dark ground
const LIGHT = '#ffffff'

/** Radius of a joint's dot in CSS pixels: the face's lie close together. */
export function dotRadius(joint) {
  return FACE.has(joint) ? 4 : 6
}

/**
 * A whole scene.
 *
 * @param context transformed so that one unit is one CSS pixel.
 * @param view `{ left, top, scale }`: where the frame's corner is, and CSS pixels of a frame pixel.
 * @param scene `{ figure, frame, tables, picture, opacity, hovered, selected, still }`.
 */
export function drawScene(context, view, scene) {
  drawFrame(context, view, scene)
  const place = ({ x, y }) => [view.left + x * view.scale, view.top + y * view.scale]
  drawLimbs(context, place, view.scale, scene)
  drawHands(context, place, scene)
  drawJoints(context, place, scene)
  drawBeyond(context, place, scene)
  const named = scene.hovered ?? scene.selected
  if (named !== null && !scene.still) drawName(context, place, scene, named)
}

/** A pose of the library as a small picture. */
export function drawThumbnail(context, figure, tables, scale) {
  const place = ({ x, y }) => [x * scale, y * scale]
  drawLimbs(context, place, scale, { figure, tables }, 1.4)
  figure.points.forEach((point, joint) => {
    if (!point.shown) return
    context.beginPath()
    context.arc(...place(point), 1.6, 0, 2 * Math.PI)
    context.fillStyle = colour(tables.colours[joint])
    context.fill()
  })
}

function drawFrame(context, view, { frame, picture, opacity }) {
  const [width, height] = [frame.width * view.scale, frame.height * view.scale]
  context.fillStyle = '#101012'
  context.fillRect(view.left, view.top, width, height)
  if (picture) {
    const scale = Math.min(width / picture.naturalWidth, height / picture.naturalHeight)
    const [w, h] = [picture.naturalWidth * scale, picture.naturalHeight * scale]
    context.globalAlpha = opacity
    context.imageSmoothingQuality = 'high'
    context.drawImage(picture, view.left + (width - w) / 2, view.top + (height - h) / 2, w, h)
    context.globalAlpha = 1
  }
  context.lineWidth = 1
  context.strokeStyle = 'rgba(160, 160, 170, 0.8)'
  context.strokeRect(
    Math.round(view.left) - 0.5, Math.round(view.top) - 0.5, Math.round(width) + 1, Math.round(height) + 1
  )
}

function drawLimbs(context, place, scale, { figure, frame, tables }, thinnest = 2.4) {
  const counts = (point) => point.shown && (!frame || isInside(point, frame)) // others are left out
  const half = Math.min(Math.max(tables.limb_half_width * scale, thinnest), 7)
  tables.limbs.forEach(([a, b], limb) => {
    const [start, end] = [figure.points[a], figure.points[b]]
    const [[x0, y0], [x1, y1]] = [place(start), place(end)]
    const drawn = counts(start) && counts(end)
    context.beginPath()
    if (drawn) {
      const length = Math.hypot(x1 - x0, y1 - y0)
      const angle = Math.atan2(y1 - y0, x1 - x0)
      context.ellipse((x0 + x1) / 2, (y0 + y1) / 2, length / 2, half, angle, 0, 2 * Math.PI)
      context.fillStyle = colour(tables.colours[limb], 0.9)
      context.fill()
      if (thinnest > 2) {
        context.lineWidth = 1
        context.strokeStyle = OUTLINE
        context.stroke()
      }
    } else if (thinnest > 2) {
      context.setLineDash([2, 4])
      context.moveTo(x0, y0)
      context.lineTo(x1, y1)
      context.lineWidth = 1
      context.strokeStyle = colour(tables.colours[limb], 0.45)
      context.stroke()
      context.setLineDash([])
    }
  })
}

function drawHands(context, place, { figure, tables }) {
  for (const hand of figure.hands) {
    if (!hand) continue
    tables.hand_bones.forEach(([a, b], bone) => {
      if (!hand[a].shown || !hand[b].shown) return
      context.beginPath()
      context.moveTo(...place(hand[a]))
      context.lineTo(...place(hand[b]))
      context.lineWidth = 1.5
      context.strokeStyle = colour(tables.hand_colours[bone])
      context.stroke()
    })
  }
}

function drawJoints(context, place, { figure, frame, tables, hovered, selected }) {
  const last = [hovered, selected].filter((joint) => joint !== null)
  const order = figure.points.map((_, joint) => joint).filter((joint) => !last.includes(joint))
  for (const joint of [...order, ...last]) {
    const point = figure.points[joint]
    const [x, y] = place(point)
    const radius = dotRadius(joint) + (joint === hovered ? 2 : 0)
    const solid = point.shown && isInside(point, frame)
    context.beginPath()
    context.arc(x, y, radius, 0, 2 * Math.PI)
    context.fillStyle = solid ? colour(tables.colours[joint]) : 'rgba(20, 20, 22, 0.6)'
    context.fill()
    if (!solid) context.setLineDash(point.shown ? [] : [3, 2.5])
    context.lineWidth = solid ? 1 : 2
    context.strokeStyle = solid ? RIM : colour(tables.colours[joint], 0.9)
    context.stroke()
    context.setLineDash([])
    if (joint === selected || joint === hovered) {
      context.beginPath()
      context.arc(x, y, radius + 2.5, 0, 2 * Math.PI)
      context.lineWidth = joint === selected ? 2.5 : 1.5
      context.strokeStyle = OUTLINE
      context.stroke()
      context.lineWidth -= 1
      context.strokeStyle = LIGHT
      context.stroke()
    }
  }
}

/** An arrow at the border for every joint that lies beyond what is seen. */
function drawBeyond(context, place, { figure, tables, size }) {
  const inset = 9
  figure.points.forEach((point, joint) => {
    const [x, y] = place(point)
    if (!point.shown || (x >= 0 && y >= 0 && x <= size.width && y <= size.height)) return
    const clamp = (value, side) => Math.min(Math.max(value, inset), side - inset)
    const at = [clamp(x, size.width), clamp(y, size.height)]
    context.save()
    context.translate(...at)
    context.rotate(Math.atan2(y - at[1], x - at[0]))
    context.beginPath()
    context.moveTo(8, 0)
    context.lineTo(-6, -6)
    context.lineTo(-6, 6)
    context.closePath()
    context.fillStyle = colour(tables.colours[joint])
    context.fill()
    context.lineWidth = 1
    context.strokeStyle = RIM
    context.stroke()
    context.restore()
  })
}

function drawName(context, place, { figure, frame, tables, size }, joint) {
  const point = figure.points[joint]
  const note = point.shown ? (isInside(point, frame) ? '' : ' · outside') : ' · hidden'
  const text = tables.joints[joint].replace('_', ' ') + note
  context.font = '12px system-ui, sans-serif'
  const width = context.measureText(text).width + 12
  let [x, y] = place(point)
  x = x + 14 + width > size.width ? x - 14 - width : x + 14
  y = Math.min(Math.max(y - 10, 2), size.height - 22)
  context.beginPath()
  context.roundRect(x, y, width, 20, 4)
  context.fillStyle = 'rgba(10, 10, 12, 0.88)'
  context.fill()
  context.lineWidth = 1
  context.strokeStyle = 'rgba(255, 255, 255, 0.35)'
  context.stroke()
  context.fillStyle = LIGHT
  context.textBaseline = 'middle'
  context.fillText(text, x + 6, y + 10.5)
}

function colour([red, green, blue], alpha = 1) {
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`
}
