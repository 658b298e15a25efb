/**
 * The editor's element: a canvas to drag a figure on, and its buttons. Mouse and keys are in
 * `gestures.js` and `keyboard.js`.
 *
 * The text of the node is the only state that lasts. Every gesture ends in one new text; undo and
 * redo walk through texts. What the node offers comes as `host`, see `pose_editor.js`.
 */

import { drawScene } from './drawing.js'
import * as figures from './figure.js'
import * as frames from './frames.js'
import { Gestures } from './gestures.js'
import { listenToKeys, takeKeys } from './keyboard.js'
import { makePicker } from './library.js'
import { makeSteps } from './steps.js'
import { makeKeyList, makeTextPanel, makeToolbar } from './toolbar.js'
import { seeAll, seeAround, zoomed } from './view.js'

const HINT = 'Drag joints · double-click hides one · ? for more'
const LONGEST_HISTORY = 200

/** What the sharpness of the drawing depends on: the canvas's size and the screen's pixels. */
function lookOf({ width, height }) {
  return `${width} ${height} ${devicePixelRatio}`
}

export class PoseEditor {
  constructor(host, tables, style) {
    this.host = host
    this.tables = tables
    this.canvasOfLibrary = { height: tables.canvas_height, width: tables.canvas_width }
    this.library = tables.poses.map(({ name, group, pose_keypoints_2d: values }) => ({
      name,
      group,
      figure: figures.fromValues(values)
    }))
    this.past = []
    this.future = []
    this.hovered = this.selected = this.picture = null
    this.opacity = 0.6
    this.documents = [] // frames of the text, or of the pose that is shown in its place
    this.at = 0 // number of the frame on the screen
    this.zoom = { factor: 1, x: 0, y: 0 } // x and y in CSS pixels
    this.build(style)
    this.reset()
  }

  // --- state ---

  /** Takes the node's text as it is now, and forgets what was before. */
  reset() {
    this.past = []
    this.future = []
    this.selected = this.hovered = this.gestures.drag = null
    this.load()
  }

  /** Looks whether anything outside changed; cheap, called often. */
  refresh() {
    if (!this.element.isConnected || this.gestures.drag) return
    if (this.host.text() !== this.text) {
      this.remember(this.text)
      this.load()
    } else if (this.signature() !== this.seen) this.load()
    const rect = this.canvas.getBoundingClientRect()
    if (this.drawn !== lookOf(rect)) this.draw()
  }

  signature() {
    const { frame, linked, start, underlay, served } = this.host
    return JSON.stringify([frame(), linked(), start(), underlay(), served(this.text)])
  }

  load() {
    const host = this.host
    this.text = host.text()
    this.seen = this.signature()
    this.frame = host.frame()
    const start = host.start()
    let [notice, isWrong] = ['', false]
    let scene = null
    if (host.linked()) {
      scene = this.read(host.served(this.text))
      notice = 'The text is connected: the pose comes from there.'
    } else if (this.text.trim()) {
      scene = this.sceneOf(this.text)
      notice = this.judge(this.text)
      isWrong = notice !== ''
    } else if (start.connected) {
      scene = this.read(start.text)
      if (!scene) notice = 'Run once to see the connected pose.'
    }
    this.documents = scene?.documents ?? []
    this.at = Math.max(Math.min(this.at, this.documents.length - 1), 0)
    this.figure = scene?.figure ?? this.standing
    this.notice.textContent = notice
    this.notice.hidden = !notice
    this.notice.classList.toggle('pcdm-wrong', isWrong)
    this.loadPicture(host.underlay())
    this.update()
  }

  get standing() {
    return figures.refit(this.library[0].figure, this.canvasOfLibrary, this.frame)
  }

  /** The frames of a text, and the figure in the one on the screen; or null. */
  read(text) {
    const documents = text ? frames.framesOf(text, this.tables) : []
    const figure = frames.figureAt(documents, this.at, this.frame, this.standing, this.tables)
    return figure && { documents, figure }
  }

  /** `read` of the node's text, which a run may have read where this script cannot. */
  sceneOf(text) {
    return this.read(text) ?? this.read(this.host.served(text))
  }

  /** What is wrong with a text as the node's own, or nothing. */
  judge(text) {
    const isFine = !text.trim() || this.locked || this.sceneOf(text)
    return isFine ? '' : frames.complaint(text, this.tables)
  }

  loadPicture(url) {
    if (url === this.pictureUrl) return
    this.pictureUrl = url
    this.picture = null
    if (!url) return
    const picture = new Image()
    picture.onload = () => {
      if (this.pictureUrl !== url) return
      this.picture = picture
      this.update()
    }
    picture.src = url
  }

  /** Ends a gesture: the figure becomes the node's text. */
  commit(figure) {
    this.figure = figure
    const text = frames.write(figure, this.frame, this.documents, this.at, this.tables)
    if (text !== this.text) this.setText(text)
    else this.update()
  }

  setText(text) {
    this.remember(this.text)
    this.store(text)
  }

  remember(text) {
    this.past.push(text)
    if (this.past.length > LONGEST_HISTORY) this.past.shift()
    this.future = []
  }

  store(text) {
    this.host.setText(text)
    this.load()
  }

  undo(from = this.past, to = this.future) {
    if (!from.length || this.locked) return
    to.push(this.text)
    this.store(from.pop())
  }

  redo() {
    this.undo(this.future, this.past)
  }

  get locked() {
    return this.host.linked()
  }

  /** Applies a change of the figure, unless the pose comes from elsewhere. */
  change(figure) {
    if (!this.locked) this.commit(figure)
  }

  // --- elements ---

  build(style) {
    this.element = document.createElement('div')
    this.element.className = 'pcdm-editor'
    const sheet = document.createElement('style')
    sheet.textContent = style
    // Asks Vue nodes for the wheel while the editor has the focus, as `wheel` does elsewhere.
    this.element.dataset.captureWheel = 'true'
    const { bar, buttons } = makeToolbar({
      poses: () => this.togglePoses(),
      mirror: () => this.mirror(),
      undo: () => this.undo(),
      redo: () => this.redo(),
      fit: () => this.seeAll(),
      restart: () => !this.locked && this.text && this.setText(''),
      crop: () => this.host.setFrame(this.picture.naturalHeight, this.picture.naturalWidth),
      opacity: (value) => {
        this.opacity = value
        this.draw()
      },
      text: () => this.togglePanel(this.textPanel, buttons.text),
      keys: () => this.toggleKeys(),
      focus: () => this.canvas.focus({ preventScroll: true })
    })
    this.picker = makePicker(
      this.library,
      this.canvasOfLibrary,
      this.tables,
      (pose) => {
        this.togglePoses()
        this.change(figures.refit(pose.figure, this.canvasOfLibrary, this.frame))
      },
      () => this.togglePoses()
    )
    this.keys = makeKeyList()
    const { panel, area, complain } = makeTextPanel(
      (text) => !this.locked && this.setText(text),
      (text) => this.judge(text)
    )
    this.textPanel = panel
    this.textArea = area
    this.complain = complain
    this.canvas = document.createElement('canvas')
    takeKeys(this.canvas)
    this.canvas.setAttribute('role', 'application')
    this.canvas.setAttribute('aria-label', `Pose editor. ${HINT}`)
    this.notice = document.createElement('div')
    this.notice.className = 'pcdm-notice'
    const stage = document.createElement('div')
    stage.className = 'pcdm-stage'
    stage.append(this.canvas, this.notice)
    this.hint = document.createElement('div')
    this.hint.className = 'pcdm-hint'
    this.hint.setAttribute('role', 'status')
    const { row, steps } = makeSteps({
      previous: () => this.step(-1),
      next: () => this.step(1),
      person: () => this.nextPerson(),
      back: () => this.change(figures.bringBack(this.figure, this.frame)),
      focus: () => this.canvas.focus({ preventScroll: true })
    })
    this.steps = steps
    this.buttons = { ...buttons, ...steps.buttons }
    this.element.append(sheet, bar, row, stage, this.hint, this.picker, this.keys, panel)
    this.listen()
  }

  listen() {
    this.gestures = new Gestures(this)
    listenToKeys(this)
    const on = (name, handle) => this.canvas.addEventListener(name, handle)
    on('focus', () => this.draw())
    on('blur', () => {
      this.selected = null
      this.update()
    })
    // The graph below must not drag the node, open its menu or take keys meant for the editor.
    for (const name of ['pointerdown', 'pointermove', 'pointerup', 'dblclick', 'contextmenu']) {
      this.element.addEventListener(name, (event) => event.stopPropagation())
    }
    this.observer = new ResizeObserver(() => this.draw())
    this.observer.observe(this.canvas)
  }

  destroy() {
    this.observer.disconnect()
  }

  togglePanel(panel, button) {
    const open = panel.hidden
    for (const [other, its] of [
      [this.picker, this.buttons.poses],
      [this.keys, this.buttons.keys],
      [this.textPanel, this.buttons.text]
    ]) {
      other.hidden = !(open && other === panel)
      its.setAttribute('aria-pressed', String(!other.hidden))
    }
    if (open) panel.style.top = `${button.parentElement.offsetHeight}px`
    if (open && panel !== this.keys) panel.querySelector('input, button, textarea').focus()
    else this.canvas.focus({ preventScroll: true })
  }

  /** Brings buttons, hint and canvas up to date. */
  update() {
    const { buttons, picture } = this
    buttons.undo.disabled = this.locked || !this.past.length
    buttons.redo.disabled = this.locked || !this.future.length
    buttons.mirror.disabled = buttons.poses.disabled = this.locked
    buttons.restart.hidden = !this.host.start().connected
    buttons.restart.disabled = this.locked || !this.text.trim()
    buttons.opacity.hidden = !picture
    const shape = picture ? picture.naturalWidth / picture.naturalHeight : 0
    const other = Math.abs(shape / (this.frame.width / this.frame.height) - 1) > 0.01
    buttons.crop.hidden = !picture || !other || !this.host.canSetFrame()
    const people = frames.peopleOf(this.documents[this.at])
    this.steps.show({
      frame: this.at + 1,
      frames: this.documents.length,
      person: people.indexOf(frames.personOf(this.documents, this.at)) + 1,
      people: people.length,
      outside: figures.jointsOutside(this.figure, this.frame).length,
      locked: this.locked
    })
    const isLong = this.text.length > this.tables.longest_text
    if (document.activeElement !== this.textArea) this.textArea.value = isLong ? '' : this.text
    this.textArea.readOnly = this.locked
    this.complain()
    const joint = this.selected ?? this.hovered
    this.hint.textContent = joint === null ? HINT : this.describe(joint)
    this.draw()
  }

  describe(joint) {
    const { x, y, shown } = this.figure.points[joint]
    const name = this.tables.joints[joint].replace('_', ' ')
    const state = shown ? '' : ' (hidden)'
    return `${name}${state}: ${Math.round(x)}, ${Math.round(y)} · H hides or shows it`
  }

  draw() {
    if (!this.element.isConnected) return
    cancelAnimationFrame(this.request)
    this.request = requestAnimationFrame(() => this.paint())
  }

  paint() {
    const { canvas } = this
    const rect = canvas.getBoundingClientRect()
    const size = { width: canvas.clientWidth, height: canvas.clientHeight }
    this.drawn = lookOf(rect)
    if (!size.width || !size.height) return
    // As many pixels as the screen shows of it, at any zoom of the graph.
    const density = Math.min(Math.max((rect.width / size.width) * devicePixelRatio, 0.5), 6)
    canvas.width = Math.round(size.width * density)
    canvas.height = Math.round(size.height * density)
    const context = canvas.getContext('2d')
    context.scale(canvas.width / size.width, canvas.height / size.height)
    const { figure, frame, tables, picture, opacity, hovered, selected } = this
    const scene = { figure, frame, tables, picture, opacity, hovered, selected, size }
    drawScene(context, this.view(), { ...scene, still: this.gestures.drag?.moved })
  }

  view() {
    const size = { width: this.canvas.clientWidth, height: this.canvas.clientHeight }
    return zoomed(seeAll(size, this.frame), this.zoom)
  }

  // --- actions ---

  mirror() {
    this.change(figures.mirrored(this.figure, this.frame, this.tables.mirror))
  }

  /** The whole frame, and what of the figure lies round it. */
  seeAll() {
    const size = { width: this.canvas.clientWidth, height: this.canvas.clientHeight }
    const outside = figures.jointsOutside(this.figure, this.frame)
    this.zoom = seeAround(size, this.frame, outside.map((joint) => this.figure.points[joint]))
    this.draw()
  }

  /** Another frame of the text: nothing of the pose changes. */
  step(way) {
    const count = this.documents.length
    if (count < 2) return
    this.at = (this.at + way + count) % count
    this.load()
  }

  /** The next one of several people becomes the pose. */
  nextPerson() {
    const people = frames.peopleOf(this.documents[this.at])
    if (this.locked || people.length < 2) return
    const place = people.indexOf(frames.personOf(this.documents, this.at)) + 1
    this.setText(frames.withPerson(this.documents, people[place % people.length]))
  }

  /** Hides or shows a joint. */
  toggle(joint) {
    this.change(figures.toggled(this.figure, joint))
  }

  togglePoses() {
    this.togglePanel(this.picker, this.buttons.poses)
  }

  toggleKeys() {
    this.togglePanel(this.keys, this.buttons.keys)
  }
}
