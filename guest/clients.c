// SPDX-License-Identifier: GPL-2.0
/*
 * clients vulkan|egl COUNT: creates COUNT VkDevices, or contexts of OpenGL ES, one after the
 * other, each of which has the GPU do something and waits for it. COUNT 0 goes on until a call
 * fails. Exits with 2 if a call fails; the driver may also abort.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EGL_NO_X11
#define EGL_EGLEXT_PROTOTYPES
#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GLES2/gl2.h>
#include <vulkan/vulkan.h>

#define FAILED		2
#define INTEL		0x8086
#define WAIT_NS		(60ull * 1000 * 1000 * 1000)
#define SIZE		64	/* pixels in each direction */

static void expect(int is_true, const char *what, int result)
{
	if (!is_true)
		errx(FAILED, "%.*s: %#x", (int)strcspn(what, "("), what, result);
}

#define VK(call)								\
	do {									\
		VkResult result_ = call;					\
		expect(result_ == VK_SUCCESS, #call, result_);			\
	} while (0)

#define EGL(call)	expect(!!(call), #call, eglGetError())

/* The batch writes a value to memory, which is how an event is set. */
static void submit(VkDevice device, VkQueue queue)
{
	VkCommandPool pool;
	VkCommandBuffer commands;
	VkEvent event;
	VkFence fence;
	VkSubmitInfo info = {
		.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
		.commandBufferCount = 1,
		.pCommandBuffers = &commands,
	};

	VK(vkCreateCommandPool(device, &(VkCommandPoolCreateInfo) {
		.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
	}, NULL, &pool));
	VK(vkAllocateCommandBuffers(device, &(VkCommandBufferAllocateInfo) {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
		.commandPool = pool,
		.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
		.commandBufferCount = 1,
	}, &commands));
	VK(vkCreateEvent(device, &(VkEventCreateInfo) {
		.sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO,
	}, NULL, &event));
	VK(vkCreateFence(device, &(VkFenceCreateInfo) {
		.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO,
	}, NULL, &fence));

	VK(vkBeginCommandBuffer(commands, &(VkCommandBufferBeginInfo) {
		.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
	}));
	vkCmdSetEvent(commands, event, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT);
	VK(vkEndCommandBuffer(commands));
	VK(vkQueueSubmit(queue, 1, &info, fence));
	VK(vkWaitForFences(device, 1, &fence, VK_TRUE, WAIT_NS));
	expect(vkGetEventStatus(device, event) == VK_EVENT_SET, "the batch has set no event", 0);

	vkDestroyFence(device, fence, NULL);
	vkDestroyEvent(device, event, NULL);
	vkDestroyCommandPool(device, pool, NULL);
}

static void create_device(VkPhysicalDevice gpu)
{
	static const float priority = 1;
	VkDevice device;
	VkQueue queue;

	VK(vkCreateDevice(gpu, &(VkDeviceCreateInfo) {
		.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
		.queueCreateInfoCount = 1,
		.pQueueCreateInfos = &(VkDeviceQueueCreateInfo) {
			.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
			.queueCount = 1,
			.pQueuePriorities = &priority,
		},
	}, NULL, &device));
	vkGetDeviceQueue(device, 0, 0, &queue);
	submit(device, queue);
	vkDestroyDevice(device, NULL);
}

static void run_vulkan(int count)
{
	VkPhysicalDeviceProperties properties;
	VkInstance instance;
	VkPhysicalDevice gpu;
	uint32_t gpus = 1;
	int i;

	VK(vkCreateInstance(&(VkInstanceCreateInfo) {
		.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
	}, NULL, &instance));
	VK(vkEnumeratePhysicalDevices(instance, &gpus, &gpu));
	expect(gpus == 1, "no device of Vulkan", 0);
	vkGetPhysicalDeviceProperties(gpu, &properties);
	expect(properties.vendorID == INTEL, "not a GPU of Intel", properties.vendorID);
	printf("# %s, Vulkan %d.%d\n", properties.deviceName,
	       VK_API_VERSION_MAJOR(properties.apiVersion),
	       VK_API_VERSION_MINOR(properties.apiVersion));
	for (i = 0; !count || i < count; i++)
		create_device(gpu);
	vkDestroyInstance(instance, NULL);
}

static void create_context(EGLDisplay display, int is_first)
{
	static const EGLint version[] = { EGL_CONTEXT_MAJOR_VERSION, 2, EGL_NONE };
	EGLContext context;
	GLuint buffer, framebuffer;

	context = eglCreateContext(display, EGL_NO_CONFIG_KHR, EGL_NO_CONTEXT, version);
	EGL(context);
	EGL(eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, context));
	if (is_first)
		printf("# %s, %s\n", glGetString(GL_RENDERER), glGetString(GL_VERSION));
	expect(!!strstr((const char *)glGetString(GL_RENDERER), "Intel"), "not a GPU of Intel", 0);

	glGenRenderbuffers(1, &buffer);
	glBindRenderbuffer(GL_RENDERBUFFER, buffer);
	glRenderbufferStorage(GL_RENDERBUFFER, GL_RGBA4, SIZE, SIZE);
	glGenFramebuffers(1, &framebuffer);
	glBindFramebuffer(GL_FRAMEBUFFER, framebuffer);
	glFramebufferRenderbuffer(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_RENDERBUFFER, buffer);
	glClearColor(0, 1, 0, 1);
	glClear(GL_COLOR_BUFFER_BIT);
	glFinish();
	expect(!glGetError(), "clear and finish", 0);

	EGL(eglMakeCurrent(display, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT));
	EGL(eglDestroyContext(display, context));
}

static void run_egl(int count)
{
	EGLDisplay display;
	int i;

	display = eglGetPlatformDisplay(EGL_PLATFORM_SURFACELESS_MESA, EGL_DEFAULT_DISPLAY, NULL);
	EGL(display);
	EGL(eglInitialize(display, NULL, NULL));
	EGL(eglBindAPI(EGL_OPENGL_ES_API));
	for (i = 0; !count || i < count; i++)
		create_context(display, !i);
	EGL(eglTerminate(display));
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(1, "usage: clients vulkan|egl COUNT");

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(argv[1], "vulkan"))
		run_vulkan(atoi(argv[2]));
	else
		run_egl(atoi(argv[2]));

	return 0;
}
