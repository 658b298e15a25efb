/** What mouse, pen and fingers do on the editor's canvas. */

import * as figures from './figure.js'
import { hitJoint, hitLimb, nearTo, toFrame } from './view.js'

const CLICK = 3 // CSS pixels that the pointer may wander in a click
const [LEAST_ZOOM, MOST_ZOOM] = [0.5, 12]

export class Gestures {
  /** @param editor whose canvas is listened to. */
  constructor(editor) {
    this.editor = editor
    this.drag = null
    const on = (name, handle, options) => editor.canvas.addEventListener(name, handle, options)
    on('pointerdown', (event) => this.press(event))
    on('pointermove', (event) => this.move(event))
    on('pointerup', (event) => this.release(event))
    on('pointercancel', () => this.cancel())
    on('pointerleave', () => this.hover(null))
    on('dblclick', (event) => this.doubleClick(event))
    on('contextmenu', (event) => event.preventDefault())
    on('wheel', (event) => this.wheel(event), { passive: false })
  }

  /** Place of an event in CSS pixels of the canvas, whatever zoom the graph has. */
  place(event) {
    const { canvas } = this.editor
    const rect = canvas.getBoundingClientRect()
    return {
      x: ((event.clientX - rect.left) * canvas.clientWidth) / rect.width,
      y: ((event.clientY - rect.top) * canvas.clientHeight) / rect.height
    }
  }

  /** The joint at a place, or else whether a limb is there. */
  hit(at) {
    const { figure, tables } = this.editor
    const view = this.editor.view()
    const joint = hitJoint(figure, view, at)
    return { joint, onLimb: joint === null && hitLimb(figure, tables.limbs, view, at) }
  }

  press(event) {
    if (this.drag) return
    event.preventDefault()
    const { editor } = this
    editor.canvas.focus({ preventScroll: true })
    const at = this.place(event)
    const { joint, onLimb } = this.hit(at)
    if (event.button === 2) {
      if (joint !== null) editor.toggle(joint)
      return
    }
    const free = event.button === 0 && !editor.locked
    const kind = free && joint !== null ? 'joint' : free && onLimb ? 'figure' : 'view'
    this.drag = { kind, joint, from: at, figure: editor.figure, zoom: editor.zoom, moved: false }
    editor.canvas.setPointerCapture(event.pointerId)
    editor.selected = joint
    editor.update()
    this.cursor(kind)
  }

  move(event) {
    const at = this.place(event)
    if (!this.drag) {
      const { joint, onLimb } = this.hit(at)
      this.hover(joint)
      this.cursor(joint !== null ? 'joint' : onLimb ? 'figure' : 'none')
      return
    }
    const { drag, editor } = this
    if (!drag.moved && nearTo(at, drag.from, CLICK)) return
    drag.moved = true
    const { scale } = editor.view()
    const [dx, dy] = [at.x - drag.from.x, at.y - drag.from.y]
    if (drag.kind === 'view') {
      editor.zoom = { ...drag.zoom, x: drag.zoom.x + dx, y: drag.zoom.y + dy }
    } else if (drag.kind === 'figure') {
      editor.figure = figures.shifted(drag.figure, dx / scale, dy / scale)
    } else {
      const before = drag.figure.points[drag.joint]
      const place = { x: before.x + dx / scale, y: before.y + dy / scale }
      const change = event.shiftKey ? figures.turned : figures.moved
      editor.figure = change(drag.figure, drag.joint, place, editor.frame)
    }
    editor.update()
  }

  release(event) {
    const { drag, editor } = this
    this.drag = null
    if (!drag) return
    this.move(event)
    if (drag.moved && drag.kind !== 'view') editor.commit(editor.figure)
    else editor.update()
  }

  cancel() {
    if (!this.drag) return
    this.editor.figure = this.drag.figure
    this.drag = null
    this.editor.update()
  }

  hover(joint) {
    if (joint === this.editor.hovered) return
    this.editor.hovered = joint
    this.editor.update()
  }

  cursor(kind) {
    const { canvas, locked } = this.editor
    const held = this.drag !== null
    const shapes = { joint: held ? 'grabbing' : 'grab', figure: 'move', view: 'grabbing' }
    canvas.style.cursor = (locked && kind !== 'view' ? '' : shapes[kind]) ?? 'default'
  }

  doubleClick(event) {
    const { joint } = this.hit(this.place(event))
    if (joint === null) this.editor.seeAll()
    else this.editor.toggle(joint)
  }

  wheel(event) {
    event.preventDefault()
    event.stopPropagation()
    const { editor } = this
    if (document.activeElement !== editor.canvas) {
      editor.host.forwardWheel(event)
      return
    }
    const wanted = editor.zoom.factor * 1.0015 ** -event.deltaY
    const factor = Math.min(Math.max(wanted, LEAST_ZOOM), MOST_ZOOM)
    const at = this.place(event)
    const under = toFrame(editor.view(), at)
    editor.zoom = { ...editor.zoom, factor }
    const view = editor.view()
    editor.zoom.x += at.x - (view.left + under.x * view.scale)
    editor.zoom.y += at.y - (view.top + under.y * view.scale)
    editor.draw()
  }
}
