import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/** Runs propensity.onnx on the inputs in a directory: NAME.int64 and NAME.float32, little-endian. Writes NAME.float32. */
public final class RunGraph {
    public static void main(String[] arguments) throws Exception {
        Path inputs = Path.of(arguments[1]);
        Path outputs = Path.of(arguments[2]);
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        try (OrtSession session = environment.createSession(arguments[0])) {
            Map<String, OnnxTensor> given = new HashMap<>();
            for (String name : session.getInputNames()) {
                Path longs = inputs.resolve(name + ".int64");
                if (Files.exists(longs)) {
                    LongBuffer buffer = read(longs).asLongBuffer();
                    given.put(name, OnnxTensor.createTensor(environment, buffer, new long[] {buffer.remaining()}));
                } else {
                    FloatBuffer buffer = read(inputs.resolve(name + ".float32")).asFloatBuffer();
                    given.put(name, OnnxTensor.createTensor(environment, buffer, new long[] {buffer.remaining()}));
                }
            }
            try (OrtSession.Result results = session.run(given)) {
                for (String name : session.getOutputNames()) {
                    FloatBuffer values = ((OnnxTensor) results.get(name).orElseThrow()).getFloatBuffer();
                    ByteBuffer bytes = ByteBuffer.allocate(4 * values.remaining()).order(ByteOrder.LITTLE_ENDIAN);
                    bytes.asFloatBuffer().put(values);
                    Files.write(outputs.resolve(name + ".float32"), bytes.array());
                }
            }
        }
    }

    private static ByteBuffer read(Path path) throws Exception {
        return ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN);
    }
}
